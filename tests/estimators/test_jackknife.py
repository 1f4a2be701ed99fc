"""Errors over runs: the jackknife is what it is known to be, and intervals hold where all examples share runs' luck."""

from math import isnan, sqrt

import numpy as np
import pytest
from scipy import stats

from analysis.reading.counts import StoreCounts
from analysis.reading.examples import Labels
from analysis.reading.run_groups import GroupCounts, GroupedMeans, RunGroups
from analysis.scoring.groups import Groups
from analysis.scoring.profiles import group_profiles
from analysis.statistics.jackknife import BOTH, EXAMPLES_ONLY, Error, error_of, jackknife_se

N, RUNS, GROUPS = 60, 40, 20


def test_of_a_mean_it_is_the_standard_error_of_a_mean() -> None:
    values = np.random.default_rng(0).normal(size=(30, 4))
    without = np.array([np.delete(values, k, axis=0).mean(axis=0) for k in range(30)])
    np.testing.assert_allclose(jackknife_se(without), stats.sem(values, axis=0), rtol=1e-12)
    means = GroupedMeans(30, 4)
    for k, row in enumerate(values):
        means.add(k, row)
    np.testing.assert_allclose(means.without_each(), without, rtol=1e-12)
    assert np.isnan(jackknife_se(without[:1])).all()
    assert jackknife_se(np.array([[np.nan], [1.0], [3.0]]))[0] == pytest.approx(1.0)  # two are left: sd / sqrt 2


def test_parts_add_up_and_what_is_not_known_is_said() -> None:
    replicates = np.array([1.0, 2.0, 4.0])
    runs = float(jackknife_se(replicates))
    assert error_of(0.5, replicates).se == pytest.approx(sqrt(0.25 + runs**2))
    assert error_of(0.5, replicates, replicates).runs == pytest.approx(sqrt(2) * runs)
    assert error_of(0.5, replicates).over == BOTH
    for unknown in (error_of(0.5), error_of(0.5, None), error_of(0.5, replicates, None), error_of(0.5, replicates[:1])):
        assert (unknown.over, unknown.se) == (EXAMPLES_ONLY, 0.5)
        assert unknown.reach(0.95) == pytest.approx(0.5 * 1.959964, rel=1e-6)
    # Runs alone: Student's of g - 1 degrees; examples alone: normal.
    assert Error(0.0, 2.0, 5).reach(0.95) == pytest.approx(2 * stats.t.ppf(0.975, 4))
    assert Error(1.0, 1e-9, 5).reach(0.95) == pytest.approx(stats.norm.ppf(0.975), rel=1e-6)
    assert isnan(error_of(np.nan).se)


def campaign(random: np.random.Generator) -> RunGroups:
    """Runs that are good or bad at all examples at once."""
    luck = random.normal(size=(RUNS, 1))
    inside = random.random((RUNS, N)) < 0.5
    right = random.random((RUNS, N)) < 1 / (1 + np.exp(-0.5 - luck))
    sums = (inside, inside & right, right)
    of_group = [np.stack([each[np.arange(RUNS) % GROUPS == g].sum(axis=0) for g in range(GROUPS)]) for each in sums]
    label = np.zeros(N, np.int64)
    counts = GroupCounts(500_000, 1, 0, np.full(GROUPS, RUNS // GROUPS), *(each.astype(np.int32) for each in of_group))
    return RunGroups(Labels(label, label, label), GROUPS, (counts,))


@pytest.mark.slow
def test_intervals_of_a_groups_profile_hold_for_other_runs() -> None:
    """The truth is the mean over very many runs; over examples alone most intervals miss it."""
    random = np.random.default_rng(3)
    truth = (1 / (1 + np.exp(-0.5 - random.normal(size=200_000)))).mean()
    group = Groups("class", ("all",), np.zeros(N, np.int64))
    held: dict[str, list[bool]] = {BOTH: [], EXAMPLES_ONLY: []}
    for _ in range(60):
        runs = campaign(random)
        counts = StoreCounts(runs.labels, (runs.ratios[0].over(np.full(GROUPS, True)),))
        for given in (runs, None):
            row = group_profiles(None, counts, group, given).iloc[0]  # type: ignore[arg-type]
            held[row["over"]].append(row["low"] <= truth <= row["high"])
    assert np.mean(held[BOTH]) >= 0.85
    assert np.mean(held[EXAMPLES_ONLY]) < 0.7
