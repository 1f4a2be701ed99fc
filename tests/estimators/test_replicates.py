"""Runs that share subsets (`subsets.replicates`): standard errors and intervals are those of subsets, not of runs."""

from math import nan, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import (
    consistency_profile,
    count_runs,
    cscore,
    estimate_memorization,
    fit_datamodels,
    influence_discoveries,
    influence_top,
    open_store,
    pack_runs,
    read_outputs,
    write_estimates,
)
from analysis.influence.datamodels.fitting import MIN_FITTED
from analysis.reading.counts import RatioCounts, StoreCounts
from analysis.reading.examples import Labels, read_labels
from analysis.reading.halves import draw_halves, pack_ratio
from analysis.reading.run_groups import group_runs
from analysis.report.findings import find
from analysis.statistics.clustered_means import clustered_variance, effective_runs, sum_clusters
from analysis.statistics.intervals import mean_interval
from analysis.statistics.moments import RunMoments
from tests.synthetic import Runs, make_stores
from workers.common.arrays import Bools, Integers
from workers.errors import EstimateError, SharedSubsetsError
from workers.store import Store

G, M, N, T = 40, 3, 8, 5
DIVERGED = (4, 9, 10, 11)


def replicated(random: np.random.Generator, groups: int, replicates: int, width: int, shape: float) -> Bools:
    """bool[groups * replicates, width]: right with a probability of each subset's own, beta(shape, shape)."""
    p = random.beta(shape, shape, (groups, width))
    return np.repeat(p, replicates, axis=0) > random.random((groups * replicates, width))


@pytest.fixture(scope="module")
def runs() -> Runs:
    """Three runs of each of forty subsets, but for those that diverged: one run of a subset, all of another."""
    random = np.random.default_rng(3)
    return Runs(
        subsets=np.repeat(random.random((G, N)) < 0.5, M, axis=0),
        train=replicated(random, G, M, N, 0.5),
        test=replicated(random, G, M, T, 0.5),
        diverged=DIVERGED,
        replicates=M,
        outputs={
            f"{split}_margin": random.normal(size=(G * M, width)).astype(np.float16)
            for split, width in (("train", N), ("test", T))
        },
    )


@pytest.fixture(scope="module")
def store(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """In shards that part the runs of a subset."""
    return make_stores(tmp_path_factory.mktemp("s") / "s", {0.5: runs}, shard_size=7)


def slow_variance(values: npt.NDArray[Any], rows: Integers) -> float:
    """CR1, subset by subset: of the mean over some runs of their values."""
    clusters = [[float(values[k]) for k in rows if k // M == c] for c in sorted({int(k) // M for k in rows})]
    n, count = len(rows), len(clusters)
    p = sum(map(sum, clusters)) / n
    deviations = sum((sum(cluster) - p * len(cluster)) ** 2 for cluster in clusters)
    return max(count / (count - 1) * deviations / n**2, p * (1 - p) / n) if count > 1 else nan


def sides(runs: Runs, example: Any) -> tuple[Integers, Integers]:
    """The runs that did not diverge, with and without an example."""
    kept = [k for k in range(G * M) if k not in DIVERGED]
    inside = [k for k in kept if runs.subsets[k, example]]
    return np.array(inside), np.array([k for k in kept if k not in inside])


def test_standard_errors_are_those_of_subsets(store: Store, runs: Runs) -> None:
    counts = count_runs(store)
    mem, profile, score = estimate_memorization(counts), consistency_profile(counts), cscore(counts)
    for i in range(N):
        inside, outside = sides(runs, i)
        of_in, of_out = (slow_variance(runs.train[:, i], rows) for rows in (inside, outside))
        assert mem["se"][i] == pytest.approx(sqrt(of_in + of_out))
        assert profile["se"][i] == score["se"][i] == pytest.approx(sqrt(of_out))
        # Runs of a subset agree here more than not, so that they are worth less than as many independent ones.
        assert mem["se"][i] > sqrt(sum(p * (1 - p) / len(rows) for p, rows in _means(runs, i)))
    assert (mem["low"] < mem["mem"]).all()
    assert (mem["mem"] < mem["high"]).all()


def _means(runs: Runs, i: int) -> list[tuple[float, Integers]]:
    return [(float(runs.train[rows, i].mean()), rows) for rows in sides(runs, i)]


def test_influence_has_the_errors_of_subsets_and_no_p_values(store: Store, runs: Runs) -> None:
    bits = pack_runs(store)
    for each in influence_top(bits, top=2).to_dict("records"):
        inside, outside = sides(runs, each["example_id"])
        of_test = runs.test[:, each["test_example_id"]]
        expected = slow_variance(of_test, inside) + slow_variance(of_test, outside)
        assert each["se"] == pytest.approx(sqrt(expected))
    with pytest.raises(SharedSubsetsError, match="exact test does not hold"):
        influence_discoveries(bits)


def test_outputs_are_averaged_over_the_runs_of_a_subset_first(store: Store, runs: Runs) -> None:
    margins = runs.outputs["train_margin"].astype(np.float64)
    frame = open_store(store.uri).memorization(output="margin")
    for i in range(N):
        of_subsets = [
            [margins[[k for k in rows if k // M == c], i].mean() for c in {int(k) // M for k in rows}]
            for rows in sides(runs, i)
        ]
        expected = sum(np.var(each, ddof=1) / len(each) for each in of_subsets)
        assert frame["se"][i] == pytest.approx(sqrt(expected))
    source = read_outputs(store, output="margin").of_subsets()
    assert source.runs == G - 1
    assert source.groups.tolist() == [c for c in range(G) if c != 3]
    fitted = fit_datamodels(read_outputs(store))
    assert fitted.fitted_runs + fitted.heldout_runs == G - 1 > MIN_FITTED


def test_splits_and_jackknife_groups_keep_the_runs_of_a_subset_together(store: Store) -> None:
    packed = pack_ratio(store, read_labels(store), 500_000)
    subset_of_run = np.array([k // M for k in range(G * M) if k not in DIVERGED])
    first, second = (packed.rows_of(half) for half in draw_halves(0, 500_000, packed.units, packed.units, 0))
    assert not set(subset_of_run[first]) & set(subset_of_run[second])
    assert len({*subset_of_run[first], *subset_of_run[second]}) == (G - 1) // 2 * 2
    (of_groups,) = group_runs(store).ratios
    of_group = [sum(c % 20 == group for c in subset_of_run) for group in range(20)]
    assert of_groups.runs.tolist() == of_group


def test_what_takes_runs_for_independent_is_refused(store: Store) -> None:
    view = open_store(store.uri)
    with pytest.raises(
        EstimateError, match=r"must be of runs with a subset each, got 3 of each \(subsets.replicates\)"
    ):
        view.expected_se(100)
    with pytest.raises(EstimateError, match="a privacy audit must be of runs with a subset each"):
        view.audit()


def test_estimates_and_report_say_what_is_not_tested(store: Store, tmp_path: Path) -> None:
    told: list[str] = []
    written = write_estimates(store, folder=tmp_path, progress=told.append)
    assert "memorization" in written
    assert any(
        "left out of influence_discoveries: discoveries must be of runs with a subset each" in line for line in told
    )
    findings = find(store)
    assert findings.influence is not None
    assert findings.influence.discovered is None
    assert findings.influence.pairs is not None


@given(seed=st.integers(0, 2**32 - 1), sizes=st.lists(st.integers(0, 4), min_size=1, max_size=9))
def test_one_run_a_subset_is_the_binomial_error_but_for_its_degrees_of_freedom(seed: int, sizes: list[int]) -> None:
    random = np.random.default_rng(seed)
    runs = np.array(sizes)
    correct = random.integers(0, runs + 1)
    sums = sum_clusters(correct, runs, np.ones(len(runs), dtype=bool))
    y, n = np.array(correct.sum()), np.array(runs.sum())
    effective = float(effective_runs(y, n, sums, 0.95))
    assert 0 <= effective <= n
    count = int((runs > 0).sum())
    if count > 1:
        p = y / n
        expected = count / (count - 1) * ((correct - p * runs) ** 2).sum() / n**2
        assert float(clustered_variance(y, n, sums)) == pytest.approx(max(expected, p * (1 - p) / n))
        shares = correct[runs > 0] / runs[runs > 0]
        if np.ptp(shares) == 0:
            assert effective == count


@pytest.mark.parametrize(("groups", "replicates", "shape"), [(10, 4, 0.5), (40, 4, 0.5), (40, 2, 2.0), (15, 10, 0.1)])
def test_intervals_hold_their_level_where_those_of_independent_runs_do_not(
    groups: int, replicates: int, shape: float
) -> None:
    """Of a mean whose true value is 1/2, over 3,000 simulated examples: the standard error of coverage is 0.4%."""
    random = np.random.default_rng(0)
    right = replicated(random, groups, replicates, 3_000, shape)
    correct = right.reshape(groups, replicates, -1).sum(axis=1)
    runs = np.full_like(correct, replicates)
    sums = sum_clusters(correct, runs, np.ones(correct.shape, dtype=bool))
    y, n = correct.sum(axis=0), runs.sum(axis=0)
    low, high = mean_interval(y / n, effective_runs(y, n, sums, 0.95))
    naive_low, naive_high = mean_interval(y / n, n)
    assert ((low <= 0.5) & (high >= 0.5)).mean() > 0.935
    assert ((naive_low <= 0.5) & (naive_high >= 0.5)).mean() < 0.93
    errors = np.sqrt(clustered_variance(y, n, sums))
    assert np.sqrt((errors**2).mean()) == pytest.approx((y / n).std(), rel=0.05)


@pytest.mark.parametrize(("groups", "replicates"), [(20, 4), (60, 4), (100, 2)])
def test_intervals_of_memorization_hold_their_level(groups: int, replicates: int) -> None:
    """mem = 0.8 - 0.4 of 3,000 simulated examples, each subset's probabilities beta with these means."""
    random = np.random.default_rng(1)
    inside = random.random((groups, 3_000)) < 0.5
    p = np.where(inside, random.beta(1.6, 0.4, inside.shape), random.beta(0.8, 1.2, inside.shape))
    correct = (random.random((replicates, *p.shape)) < p).sum(axis=0)
    runs = np.full_like(correct, replicates)
    sums = sum_clusters(correct, runs, inside), sum_clusters(correct, runs, ~inside)
    n_in, right_in = replicates * inside.sum(axis=0), np.where(inside, correct, 0).sum(axis=0)
    n_out, right_out = replicates * groups - n_in, correct.sum(axis=0) - right_in
    ratio = RatioCounts(500_000, groups * replicates, 0, 1, n_in, right_in, n_out, right_out, None, *sums)
    ids = np.zeros(3_000, dtype=np.int64)
    mem = estimate_memorization(StoreCounts(Labels(ids, ids, ids[:0]), (ratio,)))
    assert ((mem["low"] <= 0.4) & (mem["high"] >= 0.4)).mean() > 0.935
    if groups > 20:
        assert np.sqrt((mem["se"] ** 2).mean()) == pytest.approx(mem["mem"].std(), rel=0.06)


@given(seed=st.integers(0, 2**32 - 1), sizes=st.lists(st.integers(1, 4), min_size=1, max_size=8))
def test_moments_of_groups_are_those_of_their_means(seed: int, sizes: list[int]) -> None:
    values = np.random.default_rng(seed).normal(size=(sum(sizes), 3))
    values[0, 0] = np.nan
    moments, group = RunMoments((3,)), np.repeat(np.arange(len(sizes)), sizes)
    for row, number in zip(values, group.tolist(), strict=True):
        moments.add(row, number)
    for column in range(3):
        means = [
            float(np.mean(some))
            for number in range(len(sizes))
            if len(some := values[(group == number) & ~np.isnan(values[:, column]), column])
        ]
        assert moments.units[column] == len(means)
        assert moments.n[column] == (~np.isnan(values[:, column])).sum()
        assert moments.mean[column] == pytest.approx(np.mean(means) if means else nan, nan_ok=True)
        expected = np.std(means, ddof=1) / sqrt(len(means)) if len(means) > 1 else nan
        assert moments.se[column] == pytest.approx(expected, nan_ok=True)
