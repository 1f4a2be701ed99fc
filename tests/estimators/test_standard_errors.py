"""Standard errors to expect: closed forms, a slow reference, and chance itself."""

import math
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from analysis import (
    EstimateError,
    StoreView,
    count_first_runs,
    count_runs,
    feldman_zhang_bound,
    largest_unit_variance,
    p90_expected_se,
    runs_needed,
    se_of_runs,
    unit_variance,
)
from analysis.estimators.standard_errors import percentile
from tests.synthetic import Runs, even_shards, make_stores, random_runs

SHARES = st.floats(0.02, 0.98)


def slow_means(runs: Runs, example: int) -> tuple[list[bool], list[bool]]:
    """What each run that trained on an example says of it, and each that did not; diverged ones left out."""
    used = [k for k in range(len(runs.subsets)) if k not in runs.diverged]
    return (
        [runs.train[k, example] for k in used if runs.subsets[k, example]],
        [runs.train[k, example] for k in used if not runs.subsets[k, example]],
    )


def slow_variance(says: Sequence[bool]) -> float:
    p = (sum(says) + 0.5) / (len(says) + 1)
    return p * (1 - p)


def slow_percentile(values: Sequence[float], share: float) -> float:
    return next(value for value in sorted(values) if sum(each <= value for each in values) >= share * len(values))


def fixed_size_runs(
    random: np.random.Generator, num_runs: int, num_train: int, size: int, p_in: float, p_out: float
) -> Runs:
    """Runs on subsets of one size; every example is right with a probability, trained on or not."""
    subsets = np.argsort(random.random((num_runs, num_train)), axis=1) < size
    train = random.random((num_runs, num_train)) < np.where(subsets, p_in, p_out)
    return Runs(subsets, train, np.zeros((num_runs, 0), dtype=bool))


def test_the_largest_standard_error_is_that_of_chance() -> None:
    """40 runs at 0.7, right half of the time: the spread of mem over 4000 campaigns."""
    random = np.random.default_rng(0)
    inside = random.random((4000, 40)) < 0.7
    right = random.random((4000, 40)) < 0.5
    n_in = inside.sum(axis=1)
    mem = (right & inside).sum(axis=1) / n_in - (right & ~inside).sum(axis=1) / (40 - n_in)
    expected = se_of_runs(largest_unit_variance(0.7), 0.7, 40)
    assert expected == pytest.approx(math.sqrt(0.25 / 28 + 0.25 / 12))
    assert mem.std() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(
    ("share", "runs", "bound"),
    [
        (0.7, 400, math.sqrt(1 / 120 + 1 / 280 + math.exp(-7.5) / 2)),
        (0.3, 400, math.sqrt(1 / 120 + 1 / 280 + math.exp(-7.5) / 2)),
        (0.5, 4, None),
        (0.5, 10, math.sqrt(0.4 + math.exp(-0.3125) / 2)),
        (0.9, 1, None),
    ],
)
def test_the_published_bound(share: float, runs: int, bound: float | None) -> None:
    assert feldman_zhang_bound(share, runs) == (None if bound is None else pytest.approx(bound))


def test_a_ratio_that_expects_no_run_has_no_standard_error() -> None:
    assert se_of_runs(largest_unit_variance(0.9), 0.9, 9) is None
    assert se_of_runs(largest_unit_variance(0.9), 0.9, 10) == pytest.approx(math.sqrt(0.25 / 9 + 0.25))
    assert se_of_runs(largest_unit_variance(0.1), 0.1, 9) is None


@given(share=SHARES, variance=st.floats(0, 30), target=st.floats(0.05, 1))
def test_the_runs_needed_are_the_fewest(share: float, variance: float, target: float) -> None:
    assume(abs(round(1 / min(share, 1 - share)) - 1 / min(share, 1 - share)) > 1e-6)
    n = 1
    while n * min(share, 1 - share) < 1 or math.sqrt(variance / n) > target:
        n += 1
    assert runs_needed(variance, share, target) == n


def test_the_runs_needed_of_whole_numbers() -> None:
    assert runs_needed(largest_unit_variance(0.5), 0.5, 0.05) == 400
    assert runs_needed(largest_unit_variance(0.7), 0.7, 0.05) == 477
    assert runs_needed(0.0, 0.9, 0.05) == 10


@pytest.mark.parametrize("target", [0.0, -0.1, float("nan"), float("inf"), 1.01, 1e-300])
def test_targets_that_are_none(target: float) -> None:
    with pytest.raises(EstimateError, match=r"target must be from 0.0001 to 1, got "):
        runs_needed(1.0, 0.5, target)


@pytest.mark.slow
@settings(max_examples=12)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_runs=st.integers(1, 20),
    repetitions=st.integers(1, 25),
    shard_size=st.integers(1, 9),
    num_diverged=st.integers(0, 4),
)
def test_the_figures_of_a_store_equal_one_example_at_a_time(
    seed: int, num_runs: int, repetitions: int, shard_size: int, num_diverged: int
) -> None:
    """V, the percentile of standard errors, and the counts of the first runs."""
    random = np.random.default_rng(seed)
    runs = random_runs(random, num_runs, 7, 0, diverged=random.permutation(num_runs)[:num_diverged].tolist())
    first = Runs(runs.subsets[:repetitions], runs.train[:repetitions], runs.test[:repetitions])
    first = Runs(first.subsets, first.train, first.test, [k for k in runs.diverged if k < repetitions])
    shards = [*even_shards(num_runs, shard_size), (0, max(1, num_runs // 2))]
    with TemporaryDirectory() as folder:
        store = make_stores(Path(folder) / "s", {0.7: runs}, shards=shards)
        (at,) = count_runs(store).ratios
        counted = count_first_runs(store, 700_000, repetitions)
    assert counted.diverged == len(first.diverged)
    assert counted.runs == len(first.subsets) - len(first.diverged)
    ses = []
    for example in range(7):
        inside, outside = slow_means(first, example)
        assert (counted.n_in[example], counted.correct_in[example]) == (len(inside), sum(inside))
        assert (counted.n_out[example], counted.correct_out[example]) == (len(outside), sum(outside))
        both = inside and outside
        squared = slow_variance(inside) / len(inside) + slow_variance(outside) / len(outside) if both else math.inf
        ses.append(math.sqrt(squared))
    assert p90_expected_se(counted) == pytest.approx(slow_percentile(ses, 0.9))
    held = at.n_in.sum() / (7 * at.runs) if at.runs else 0.0
    for example, value in enumerate(unit_variance(at)):
        inside, outside = slow_means(runs, example)
        expected = slow_variance(inside) / held + slow_variance(outside) / (1 - held) if 0 < held < 1 else math.nan
        assert value == pytest.approx(expected, nan_ok=True)


@pytest.mark.slow
def test_a_pilot_foretells_the_standard_errors_of_more_runs(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    pilot = fixed_size_runs(random, 400, 50, 35, p_in=0.95, p_out=0.6)
    view = StoreView(make_stores(tmp_path / "pilot", {0.7: pilot}))
    whole = StoreView(
        make_stores(tmp_path / "whole", {0.7: fixed_size_runs(random, 1000, 50, 35, p_in=0.95, p_out=0.6)})
    )
    expected = view.expected_se(1000)
    assert list(expected.columns) == ["ratio", "example_id", "label", "given_label", "expected_se", "n_in", "n_out"]
    assert (expected["n_in"] + expected["n_out"]).eq(400).all()
    assert expected["expected_se"].median() == pytest.approx(whole.memorization()["se"].median(), rel=0.05)


@pytest.mark.slow
def test_a_few_runs_that_are_all_right_promise_no_certainty(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    expected = {
        size: StoreView(
            make_stores(tmp_path / str(size), {0.5: fixed_size_runs(random, size, 10, 5, p_in=1, p_out=0)})
        ).expected_se(100)["expected_se"]
        for size in (4, 40, 400)
    }
    assert expected[4].min() > 2 * expected[40].max()
    assert expected[40].min() > 2 * expected[400].max() > 0
    assert expected[4].max() <= math.sqrt(largest_unit_variance(0.5) / 100)


def test_where_there_is_no_mem_there_is_no_figure(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    everybody = fixed_size_runs(random, 4, 10, 10, p_in=1, p_out=1)
    lost = random_runs(random, 4, 10, 0, diverged=range(4))
    view = StoreView(make_stores(tmp_path / "s", {1.0: everybody, 0.5: lost}))
    assert view.expected_se(10)["expected_se"].isna().all()
    assert p90_expected_se(count_runs(view.store, 0.5).ratios[0]) == math.inf
    for runs in (0, -1, 1.5):
        with pytest.raises(EstimateError, match="runs must be a whole number of at least 1, got"):
            view.expected_se(runs)  # type: ignore[arg-type]


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile(np.arange(1.0, 11.0), 0.9) == 9.0
    assert percentile(np.array([1.0, np.inf]), 0.5) == 1.0
    assert percentile(np.array([1.0, np.inf]), 0.9) == np.inf
