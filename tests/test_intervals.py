"""Confidence intervals: published examples, properties, and how often they hold."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import EstimateError, open_store
from analysis.intervals import newcombe, wilson
from tests.synthetic import make_store, random_runs

groups = st.integers(0, 400).flatmap(lambda runs: st.tuples(st.integers(0, runs), st.just(runs)))


def difference(a: tuple[int, int], b: tuple[int, int], confidence: float = 0.95) -> tuple[float, float]:
    low, high = newcombe(*(np.array(value) for value in (*a, *b)), confidence)
    return float(low), float(high)


def mean(group: tuple[int, int], confidence: float = 0.95) -> tuple[float, float]:
    low, high = wilson(np.array(group[0]), np.array(group[1]), confidence)
    return float(low), float(high)


@pytest.mark.parametrize(
    ("a", "b", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_newcombes_own_examples(a: tuple[int, int], b: tuple[int, int], low: float, high: float) -> None:
    assert difference(a, b) == pytest.approx((low, high), abs=5.1e-5)


@given(group=groups, confidence=st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_an_interval_holds_the_mean_and_widens_with_confidence(group: tuple[int, int], confidence: float) -> None:
    low, high = mean(group, confidence)
    assert 0 <= low <= high <= 1
    if group[1]:
        assert low <= group[0] / group[1] <= high
        wider_low, wider_high = mean(group, (1 + confidence) / 2)
        assert wider_low <= low
        assert high <= wider_high
        narrower = mean((4 * group[0], 4 * group[1]), confidence)
        assert narrower[1] - narrower[0] < high - low
    else:
        assert (low, high) == (0, 1)


@given(a=groups, b=groups)
def test_a_difference_turns_around_with_its_groups(a: tuple[int, int], b: tuple[int, int]) -> None:
    low, high = difference(a, b)
    turned_low, turned_high = difference(b, a)
    assert (turned_low, turned_high) == pytest.approx((-high, -low), abs=1e-12)
    assert -1 - 1e-12 <= low <= high <= 1 + 1e-12
    if a[1] and b[1]:
        assert low <= a[0] / a[1] - b[0] / b[1] <= high


def test_an_empty_group_leaves_all_open_that_the_other_does() -> None:
    low, high = mean((9, 10))
    assert difference((9, 10), (0, 0)) == pytest.approx((low - 1, high))
    assert difference((0, 0), (9, 10)) == pytest.approx((-high, 1 - low))
    assert difference((0, 0), (0, 0)) == (-1, 1)


@pytest.mark.parametrize("confidence", [0.0, 1.0, -0.1, 95.0, float("nan")])
def test_a_confidence_is_between_0_and_1(tmp_path: Path, confidence: float) -> None:
    runs = random_runs(np.random.default_rng(0), 4, 3, 2)
    view = open_store(make_store(tmp_path / "s", runs.subsets, runs.train, runs.test).uri)
    for estimate in (view.memorization, view.consistency, view.cscore, view.influence, view.discoveries):
        with pytest.raises(EstimateError, match=r"confidence must be between 0 and 1, got"):
            estimate(confidence=confidence)


def test_the_confidence_asked_for_reaches_every_table(tmp_path: Path) -> None:
    runs = random_runs(np.random.default_rng(0), 30, 8, 4)
    view = open_store(make_store(tmp_path / "s", runs.subsets, runs.train, runs.test).uri)
    for estimate in (view.memorization, view.consistency, view.cscore, view.influence):
        usual, wider = estimate(), estimate(confidence=0.999)
        assert (wider["low"] < usual["low"]).all()
        assert (wider["high"] > usual["high"]).all()


@pytest.mark.parametrize("p_in", [0.05, 0.5, 0.97])
@pytest.mark.parametrize("p_out", [0.03, 0.4, 0.9])
def test_intervals_hold_as_often_as_they_say(p_in: float, p_out: float) -> None:
    random = np.random.default_rng(0)
    n_in = random.binomial(200, 0.7, size=20_000)
    a, b = random.binomial(n_in, p_in), random.binomial(200 - n_in, p_out)
    low, high = newcombe(a, n_in, b, 200 - n_in)
    assert 0.93 < ((low <= p_in - p_out) & (p_in - p_out <= high)).mean() < 0.975
    low, high = wilson(b, 200 - n_in)
    assert 0.92 < ((low <= p_out) & (p_out <= high)).mean() < 0.975
