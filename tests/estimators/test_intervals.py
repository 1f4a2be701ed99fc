"""Confidence intervals: published examples, SciPy's, their properties, and whether they hold what they say."""

from collections.abc import Callable
from math import inf, isnan, nan, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from analysis import (
    EstimateError,
    StoreView,
    average_interval,
    consistency_profile,
    count_runs,
    cscore,
    difference_interval,
    estimate_memorization,
    mean_interval,
    write_estimates,
)
from analysis.influence.pair_options import PairOptions
from analysis.statistics.means import Empty
from benchmarks.coverage import MEANS, RATIOS, RUNS, Coverage, cscore_coverage, difference_coverage, profile_coverage
from tests.synthetic import make_store, make_stores, random_runs

NEWCOMBE = [  # his table II, method 10
    (56, 70, 48, 80, 0.0524, 0.3339),
    (9, 10, 3, 10, 0.1705, 0.8090),
    (6, 7, 2, 7, 0.0582, 0.8062),
    (5, 56, 0, 29, -0.0381, 0.1926),
    (0, 10, 0, 20, -0.1611, 0.2775),
    (0, 10, 0, 10, -0.2775, 0.2775),
    (10, 10, 0, 20, 0.6791, 1.0),
    (10, 10, 0, 10, 0.6075, 1.0),
]

levels = st.floats(0, 1, exclude_min=True, exclude_max=True)


@st.composite
def groups(draw: st.DrawFn, least: int = 0) -> tuple[float, int]:
    """The mean and the size of a group of runs; that of an empty one may be anything."""
    runs = draw(st.integers(least, 3000))
    if runs == 0:
        return draw(st.sampled_from([0.0, 0.5, nan])), 0
    return draw(st.integers(0, runs)) / runs, runs


# Published values and other people's code ----------------------------------------------------------------------------


@pytest.mark.parametrize(("right_a", "runs_a", "right_b", "runs_b", "low", "high"), NEWCOMBE)
def test_differences_are_those_that_newcombe_published(
    right_a: int, runs_a: int, right_b: int, runs_b: int, low: float, high: float
) -> None:
    found = difference_interval(right_a / runs_a, runs_a, right_b / runs_b, runs_b)
    assert found == pytest.approx((low, high), abs=5.1e-5)


@pytest.mark.slow
@given(group=groups(least=1), confidence=st.floats(0.01, 0.9999))
def test_means_have_the_interval_that_scipy_gives_them(group: tuple[float, int], confidence: float) -> None:
    mean, runs = group
    expected = binomtest(round(mean * runs), runs).proportion_ci(confidence, method="wilson")
    assert mean_interval(mean, runs, confidence) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.slow
@given(group=groups(least=1), copies=st.integers(1, 9), confidence=st.floats(0.01, 0.9999))
def test_equal_means_average_like_one_mean_of_all_runs(
    group: tuple[float, int], copies: int, confidence: float
) -> None:
    mean, runs = group
    found = average_interval(np.full(copies, mean), np.full(copies, runs), confidence)
    np.testing.assert_allclose(found, mean_interval(mean, copies * runs, confidence), rtol=0, atol=1e-9)


@given(a=groups(least=1), b=groups(least=1), confidence=st.floats(0.01, 0.9999))
def test_an_average_turns_round_with_its_means(a: tuple[float, int], b: tuple[float, int], confidence: float) -> None:
    means, runs = np.array([a[0], b[0]]), np.array([a[1], b[1]])
    low, high = average_interval(means, runs, confidence)
    found = average_interval(1 - means, runs, confidence)
    assert found == pytest.approx((1 - high, 1 - low), abs=1e-9)


# Properties -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@given(a=groups(), b=groups(), confidence=levels)
def test_intervals_hold_the_estimate_within_what_is_possible(
    a: tuple[float, int], b: tuple[float, int], confidence: float
) -> None:
    low, high = mean_interval(*a, confidence)
    assert 0 <= low <= high <= 1
    assert not a[1] or low <= a[0] <= high
    low, high = difference_interval(*a, *b, confidence)
    assert -1 <= low <= high <= 1
    assert isnan(a[0] - b[0]) or low <= a[0] - b[0] <= high
    low, high = average_interval(np.array([a[0], b[0]]), np.array([a[1], b[1]]), confidence)
    some = [mean for mean, runs in (a, b) if runs]
    assert 0 <= low <= high <= 1
    assert not some or low <= sum(some) / len(some) <= high


@pytest.mark.slow
@given(a=groups(), b=groups(), confidence=levels)
def test_swapping_the_groups_turns_the_difference_round(
    a: tuple[float, int], b: tuple[float, int], confidence: float
) -> None:
    low, high = difference_interval(*a, *b, confidence)
    assert difference_interval(*b, *a, confidence) == (-high, -low)


@pytest.mark.slow
@given(a=groups(least=1), b=groups(least=1), times=st.integers(2, 50), confidence=st.floats(0.1, 0.999))
def test_more_runs_and_a_lower_level_make_it_narrower(
    a: tuple[float, int], b: tuple[float, int], times: int, confidence: float
) -> None:
    def widths(times: int, level: float) -> list[float]:
        means, runs = np.array([a[0], b[0]]), np.array([a[1], b[1]]) * times
        of_each = [
            mean_interval(means[0], runs[0], level),
            difference_interval(means[0], runs[0], means[1], runs[1], level),
            average_interval(means, runs, level),
        ]
        return [float(high - low) for low, high in of_each]

    plain = widths(1, confidence)
    assert all(more < once for more, once in zip(widths(times, confidence), plain, strict=True))
    assert all(lower < once for lower, once in zip(widths(1, confidence / 2), plain, strict=True))


def test_an_average_of_one_mean_has_its_interval() -> None:
    means, runs = np.array([0.0, 0.3, 1.0, nan]), np.array([4, 10, 7, 0])
    for found, expected in zip(average_interval(means[None], runs[None]), mean_interval(means, runs), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-15)


def test_shapes_broadcast_and_are_float64() -> None:
    runs = np.array([3, 0, 9], dtype=np.int64)
    low, high = difference_interval(np.array([[0.0], [1.0]]), np.int64(5), np.array([0.0, 0.5, 1.0]), runs)
    assert low.shape == high.shape == (2, 3)
    assert low.dtype == high.dtype == np.float64
    assert (low[1, 2], high[1, 2]) == difference_interval(1.0, 5, 1.0, 9)
    assert low.tolist() == difference_interval([[0.0], [1.0]], 5, [0.0, 0.5, 1.0], runs.tolist())[0].tolist()


@pytest.mark.parametrize("extreme", [5e-324, 1e-17, np.nextafter(1, 0)])
def test_levels_next_to_the_ends_still_make_intervals(extreme: float) -> None:
    low, high = difference_interval(0.25, 40, 0.5, 10, extreme)
    assert -1 <= low <= -0.25 <= high <= 1
    assert mean_interval(0.25, 10**15, extreme)[1] < 0.250001
    low, high = average_interval(np.array([0.0, 1.0]), np.array([5, 8]), extreme)
    assert 0 <= low <= 0.5 <= high <= 1


@pytest.mark.parametrize("confidence", [0, 1, -0.5, 95, nan, inf, -inf, True, "0.95", None, 0.95j, [0.9]])
def test_levels_outside_of_0_and_1_are_refused(confidence: Any) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: mean_interval(0.5, 3, confidence),
        lambda: difference_interval(0.5, 3, 0.5, 3, confidence),
        lambda: average_interval(np.array([0.5]), np.array([3]), confidence),
    ]
    for call in calls:
        with pytest.raises(EstimateError, match=r"^confidence must be greater than 0 and less than 1, got "):
            call()


# Empty groups ---------------------------------------------------------------------------------------------------------


def test_nothing_is_known_of_an_empty_group() -> None:
    """Whatever value a convention gives it: the other group's interval, widened by all that it may be."""
    low, high = mean_interval(0.75, 8)
    for value in (0.0, 0.5, nan):
        np.testing.assert_array_equal(mean_interval(value, 0), (0, 1))
        np.testing.assert_array_equal(average_interval([value], [0]), (0, 1))
        np.testing.assert_allclose(average_interval([value, 0.75], [0, 8]), (low, high), atol=1e-15)
        assert difference_interval(0.75, 8, value, 0) == (low - 1, high)
        assert difference_interval(value, 0, 0.75, 8) == (-high, 1 - low)
        np.testing.assert_array_equal(difference_interval(value, 0, value, 0), (-1, 1))


def test_a_convention_moves_no_limit(tmp_path: Path) -> None:
    subsets = np.repeat([[True, False]], 3, axis=0)  # the first is never held out, the second always
    right = np.ones((3, 2), dtype=bool)
    counts = count_runs(make_store(tmp_path / "store", subsets, right, right))
    low = mean_interval(1.0, 3)[0]
    conventions: tuple[Empty, ...] = ("half", "nan", "zero")
    for empty in conventions:
        found = estimate_memorization(counts, empty=empty)
        assert found["low"].tolist() == [low - 1, -1]
        assert found["high"].tolist() == [1, 1 - low]
        assert found["mem"].isna().all() if empty == "nan" else found["mem"].between(found["low"], found["high"]).all()
    for frame in (consistency_profile(counts), cscore(counts)):
        assert frame["low"].tolist() == [0, low]
        assert frame["high"].tolist() == [1, 1]


# Tables ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def view(tmp_path: Path) -> StoreView:
    """Two ratios of random results."""
    random = np.random.default_rng(0)
    return StoreView(
        make_stores(tmp_path / "store", {ratio: random_runs(random, 9, 12, 5, ratio) for ratio in (0.5, 0.7)})
    )


CALLS: dict[str, Callable[..., pd.DataFrame]] = {
    "memorization": StoreView.memorization,
    "consistency": StoreView.consistency,
    "cscore": StoreView.cscore,
    "influence_top": lambda view, **options: view.influence(ratio=0.5, **options),
    "influence_pairs": lambda view, **options: view.influence(ratio=0.5, threshold=0.1, **options),
    "influential_pairs": lambda view, **options: view.influential_pairs(ratio=0.5, **options),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_table_has_limits_of_the_level_asked_for(name: str, view: StoreView) -> None:
    usual, narrow = CALLS[name](view), CALLS[name](view, confidence=0.5)
    assert len(usual) > 0
    place = list(usual).index("se")
    assert list(usual)[place + 1 : place + 3] == ["low", "high"]
    pd.testing.assert_frame_equal(usual, CALLS[name](view, confidence=0.95), check_exact=True)
    pd.testing.assert_frame_equal(usual.drop(columns=["low", "high"]), narrow.drop(columns=["low", "high"]))
    assert (usual["low"] < narrow["low"]).any()
    if "p_in" in usual:
        p_in, n_in, p_out, n_out = (narrow[column] for column in ("p_in", "n_in", "p_out", "n_out"))
        low, high = difference_interval(p_in, n_in, p_out, n_out, 0.5)
        np.testing.assert_array_equal(narrow[["low", "high"]], np.transpose([low, high]))
    for path in Path(view.store.uri, "results").iterdir():
        path.write_bytes(b"")  # the level is told first, not after hours of reading
    with pytest.raises(EstimateError, match="confidence must be .* got nan"):
        CALLS[name](view, confidence=nan)


@pytest.mark.slow
def test_written_tables_have_the_level_and_tell_it(view: StoreView) -> None:
    for level, said in ((0.9, b"0.9"), (np.float64(0.5), b"0.5")):
        for name, path in write_estimates(view.store, threshold=0.1, options=PairOptions(confidence=level)).items():
            assert pq.read_metadata(path).metadata[b"longtail.confidence"] == said
            if name == "influence_discoveries":
                continue  # so few runs have none
            table, expected = pd.read_parquet(path), CALLS[name](view, confidence=level)
            if name.startswith("influence"):
                table = table[table["ratio"] == 0.5]
            pd.testing.assert_frame_equal(expected, table, check_exact=True)


def test_nothing_is_written_for_a_level_without_sense(view: StoreView) -> None:
    told: list[str] = []
    with pytest.raises(EstimateError, match="confidence must be .* got 95"):
        write_estimates(view.store, options=PairOptions(confidence=95), progress=told.append)
    assert told == []
    assert not Path(view.store.uri, "estimates").exists()


# Coverage -------------------------------------------------------------------------------------------------------------

DRAWS = 1500
Simulation = Callable[[int, np.random.Generator], list[Coverage]]


def simulate_differences(runs: int, random: np.random.Generator) -> list[Coverage]:
    return [difference_coverage(runs, ratio, 0.95, DRAWS, random) for ratio in RATIOS]


def simulate_profiles(runs: int, random: np.random.Generator) -> list[Coverage]:
    return [profile_coverage(runs, ratio, 0.95, DRAWS, random) for ratio in RATIOS]


def simulate_cscores(runs: int, random: np.random.Generator) -> list[Coverage]:
    return [cscore_coverage(runs, RATIOS, 0.95, DRAWS, random)]


@pytest.mark.slow
@pytest.mark.parametrize("simulate", [simulate_differences, simulate_profiles, simulate_cscores])
def test_intervals_hold_the_truth_as_often_as_they_say(simulate: Simulation) -> None:
    random = np.random.default_rng(0)
    found = [coverage for runs in RUNS for coverage in simulate(runs, random)]
    score, wald = (np.concatenate([getattr(each, kind) for each in found]) for kind in ("score", "wald"))
    error = sqrt(0.95 * 0.05 / DRAWS)
    assert 0.93 - 4 * error / sqrt(len(score)) < score.mean() < 0.97 + 4 * error / sqrt(len(score))
    assert score.min() > 0.89 - 4 * error
    assert wald.mean() < 0.88, "what these intervals are for"
    many = np.concatenate([each.score for each in found if each.runs == 2000])
    assert np.abs(many - 0.95).max() < 0.012 + 4 * error


@pytest.mark.slow
def test_the_simulation_finds_the_exact_coverage() -> None:
    """Summed over all sizes and all outcomes of a group that has runs."""
    draws, sizes = 20_000, range(1, 21)
    found = profile_coverage(20, 0.9, 0.9, draws, np.random.default_rng(1))
    some = 1 - 0.9**20
    for place, truth in enumerate(MEANS):
        exact = sum(
            binom.pmf(size, 20, 0.1) * binom.pmf(right, size, truth) / some
            for size in sizes
            for right in range(size + 1)
            if holds(right, size, truth)
        )
        assert found.score[place] == pytest.approx(exact, abs=4 * sqrt(exact * (1 - exact) / draws / some))


def holds(right: int, size: int, truth: float) -> bool:
    interval = binomtest(right, size).proportion_ci(0.9, method="wilson")
    return bool(interval.low <= truth <= interval.high)
