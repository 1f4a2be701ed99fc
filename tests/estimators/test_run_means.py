"""Intervals of means over runs: where all runs agree they have a width, and they hold their level."""

from math import log, sqrt

import numpy as np
import pytest
from scipy import stats

from analysis import EstimateError
from analysis.statistics.intervals import mean_interval
from analysis.statistics.run_means import bounded_interval, count_interval, student_quantile
from benchmarks.coverage import count_coverage

Z = stats.norm.ppf(0.975)


@pytest.mark.parametrize("runs", [1, 2, 12, 200])
def test_counts_of_runs_that_agree_are_poissons(runs: int) -> None:
    sd = np.nan if runs == 1 else 0.0
    low, high = count_interval(np.array([0.0, 3.0]), np.array([sd, sd]), np.array([runs, runs]))
    # No event in n runs: exp(-n high) = 2.5%. Of 3 n events: the exact limits of Garwood, 1936.
    np.testing.assert_allclose([low[0], high[0]], [0, log(40) / runs], rtol=1e-12)
    exact = stats.gamma.ppf(0.025, 3 * runs) / runs, stats.gamma.ppf(0.975, 3 * runs + 1) / runs
    np.testing.assert_allclose([low[1], high[1]], exact, rtol=1e-9)


def test_counts_that_vary_reach_as_far_as_students_quantile() -> None:
    mean, sd, runs = 400.0, 60.0, 9
    low, high = count_interval(np.array([mean]), np.array([sd]), np.array([runs]))
    reach = stats.t.ppf(0.975, runs - 1) * sd / sqrt(runs)
    np.testing.assert_allclose([low[0], high[0]], [mean - reach, mean + reach], rtol=0.01)


def test_bounded_means() -> None:
    runs, none = np.array([1, 5, 60]), np.array([np.nan, 0.0, 0.0])
    for bounds in ((0.0, 1.0), (1.0, 31.0)):
        low, high = bounded_interval(np.full(3, bounds[1]), none, runs, bounds)
        np.testing.assert_allclose(low, bounds[0] + (bounds[1] - bounds[0]) * runs / (runs + Z**2), rtol=1e-12)
        np.testing.assert_array_equal(high, np.full(3, bounds[1]))
    # Zeros and ones: Wilson's own, but for n - 1 in the deviation and Student's quantile.
    ones = np.repeat([0.0, 1.0], [300, 700])
    found = bounded_interval(np.array([0.7]), np.array([ones.std(ddof=1)]), np.array([1000]), (0.0, 1.0))
    np.testing.assert_allclose(found, mean_interval(np.array([0.7]), np.array([1000])), atol=1e-4)
    np.testing.assert_array_equal(
        bounded_interval(np.array([np.nan]), np.array([np.nan]), np.array([0]), (1, 9)), [[1], [9]]
    )
    np.testing.assert_array_equal(bounded_interval(np.array([1.0]), np.array([0.0]), np.array([3]), (1, 1)), [[1], [1]])


def test_levels_and_nothing_known() -> None:
    assert np.isnan(student_quantile(0.95, 0))
    low, high = count_interval(np.array([np.nan]), np.array([np.nan]), np.array([0]))
    assert (low[0], high[0]) == (0, np.inf)
    for bad in (0, 1, "95%"):
        with pytest.raises(EstimateError, match="confidence must be"):
            count_interval(np.ones(1), np.ones(1), np.ones(1, int), bad)  # type: ignore[arg-type]


@pytest.mark.slow
def test_counts_hold_their_level() -> None:
    """Of singly and of bursting events; where one run in five has any, bursts may have been missed with a few runs."""
    for runs in (10, 60, 200):
        found = count_coverage(runs, 0.95, 2000, np.random.default_rng(1))
        assert found.score.min() > (0.93 if runs >= 60 else 0.87)
        assert (found.wald < 0.9).any()
