"""Plans by pilots: the fit is the closed one, and small pilots no longer ask for several times the runs needed."""

import numpy as np
import pytest

from analysis.estimators.pilots import fit_beta, planned_variance
from analysis.estimators.standard_errors import percentile, unit_variance
from analysis.reading.counts import RatioCounts
from benchmarks.planning import Recorded, measure, needed

N, RATIO_PPM = 1500, 700_000


def recorded(runs: int, seed: int = 0) -> Recorded:
    """Most examples are always right, some by half, a few only where they were trained on."""
    random = np.random.default_rng(seed)
    p_out = np.concatenate([np.ones(1200), random.beta(6, 0.7, 250), random.beta(1, 1, 50)])
    p_in = np.maximum(p_out, random.beta(20, 0.5, N))
    subsets = np.argsort(random.random((runs, N)), axis=1) < 0.7 * N
    return Recorded(RATIO_PPM, subsets, random.random((runs, N)) < np.where(subsets, p_in, p_out))


def test_the_beta_distribution_behind_counts_is_found() -> None:
    random = np.random.default_rng(1)
    runs = random.integers(1, 40, 20_000)
    found = fit_beta(random.binomial(runs, random.beta(0.8, 0.3, len(runs))), runs)
    np.testing.assert_allclose(found, (0.8, 0.3), rtol=0.06)
    # One run each: only the mean a / (a + b) is known.
    a, b = fit_beta(np.repeat([1, 0], [9000, 1000]), np.ones(10_000, int))
    assert a / (a + b) == pytest.approx(0.9, abs=0.002)


@pytest.mark.slow
def test_small_pilots_plan_about_what_is_needed() -> None:
    runs = recorded(600)
    truth = needed(runs, 0.03)
    for pilot, most in ((10, 1.8), (100, 1.3)):
        found = measure(runs, pilot, 0.03, repeats=3)
        assert truth / most < found.planned.mean() < most * truth
        assert found.smoothed.mean() > found.planned.mean()
        if pilot == 10:
            assert found.smoothed.mean() > 2 * truth  # what was planned before
        else:
            assert found.held == 1


@pytest.mark.slow
def test_a_pilot_whose_runs_all_agree_promises_little() -> None:
    n_in = np.full(500, 7)
    at = RatioCounts(RATIO_PPM, 10, 0, 1, n_in, n_in, 10 - n_in, 10 - n_in)
    found = planned_variance(at)
    assert found is not None
    assert 0 <= found.p90_low <= found.p90 <= found.p90_high < percentile(unit_variance(at), 0.9)
    assert planned_variance(at) == found  # the same counts, the same plan


def test_there_is_no_plan_without_runs_or_held_out_examples() -> None:
    none, some = np.zeros(3, int), np.full(3, 4)
    assert planned_variance(RatioCounts(RATIO_PPM, 0, 2, None, none, none, none, none)) is None
    assert planned_variance(RatioCounts(1_000_000, 4, 0, 1, some, some, none, none)) is None
