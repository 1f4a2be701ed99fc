"""Influence of groups beside slow references: regressions one by one, single influences added up, planted groups."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import EstimateError, StoreView, TooManyPairsError
from analysis.influence.group_influence import group_influence
from analysis.influence.pair_options import PairOptions
from analysis.reading.bits import RatioBits, pack_bits, pack_runs, ratio_bits
from analysis.reading.examples import Labels
from tests.command import call
from tests.synthetic import Labelled, Runs, make_store
from workers.errors import CampaignError

N, T, RUNS = 40, 6, 90
GROUPS = np.repeat([1.0, 4.0, 7.0, np.nan], 10)
"""Of ten examples each; ten are of none."""
PLANTED, HARMED = 4, 2


def fixed_size(random: np.random.Generator, runs: int, examples: int, size: int) -> np.ndarray:
    subsets = np.zeros((runs, examples), dtype=bool)
    for row in subsets:
        row[random.permutation(examples)[:size]] = True
    return subsets


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[StoreView, Runs]:
    """Test example 2 is wrong where a run has more than five of group 4."""
    random = np.random.default_rng(2)
    subsets = fixed_size(random, RUNS, N, 20)
    test = random.random((RUNS, T)) < 0.7
    test[:, HARMED] = subsets[:, GROUPS == PLANTED].sum(axis=1) <= 5
    test[:, 5] = True
    runs = Runs(subsets, random.random((RUNS, N)) < 0.5, test, diverged=[3])
    labels = Labelled(label=[0, 1] * 20, given_label=[0, 1] * 19 + [1, 1], test_label=[0, 1, 0, 1, 0, 1])
    path = tmp_path_factory.mktemp("groups") / "s"
    return StoreView(make_store(path, subsets, runs.train, test, ratio=0.5, labels=labels, diverged=[3])), runs


def slow(runs: Runs, group: float, tests: list[int], groups: np.ndarray) -> tuple[float, float, float]:
    """(slope, standard error, p-value) by SciPy, of the runs that did not diverge."""
    x, y = [], []
    for k in range(len(runs.subsets)):
        if k not in runs.diverged:
            x.append(sum(runs.subsets[k, i] for i in range(N) if groups[i] == group))
            y.append(sum(runs.test[k, z] for z in tests) / len(tests))
    if len(set(y)) == 1:
        return 0.0, 0.0, 1.0
    fit = stats.linregress(x, y)
    return fit.slope, fit.stderr, fit.pvalue


def test_estimates_are_those_of_a_regression_for_each_pair(measured: tuple[StoreView, Runs]) -> None:
    view, runs = measured
    frame = view.group_influence(groups=GROUPS, on="example")
    assert len(frame) == 3 * T
    for row in frame.to_dict("records"):
        slope, se, p_value = slow(runs, row["group"], [row["test_example_id"]], GROUPS)
        np.testing.assert_allclose([row["per_example"], row["per_example_se"]], [slope, se], atol=1e-12)
        np.testing.assert_allclose([row["infl"], row["se"]], [10 * slope, 10 * se], atol=1e-12)
        assert row["p_value"] == pytest.approx(p_value)
        assert row["low"] <= row["infl"] <= row["high"]
    np.testing.assert_allclose(frame["q_value"], stats.false_discovery_control(frame["p_value"]))
    found = frame[frame["q_value"] <= 0.05].nsmallest(1, "p_value")
    assert set(frame[frame["q_value"] <= 0.05]["test_example_id"]) == {HARMED}, "other groups stand in its place"
    assert (found["group"].item(), found["infl"].item() < 0) == (PLANTED, True)
    given = np.array([0, 1] * 19 + [1, 1], dtype=float)
    for row in view.group_influence().to_dict("records"):
        tests = [z for z in range(T) if z % 2 == row["test_label"]]
        assert row["per_example"] == pytest.approx(slow(runs, row["group"], tests, given)[0])
        assert (row["size"], row["test_examples"]) == ((given == row["group"]).sum(), 3)
    whole = view.group_influence(groups=GROUPS, on="all")
    assert whole["per_example"][0] == pytest.approx(slow(runs, 1.0, list(range(T)), GROUPS)[0])


def bits_of(subsets: np.ndarray, right: np.ndarray) -> RatioBits:
    train, test = (np.zeros(each.shape[1], dtype=np.int64) for each in (subsets, right))
    return ratio_bits(500_000, 1, 0, Labels(train, train, test), pack_bits(subsets), pack_bits(right))


def test_groups_add_up_the_influences_of_their_examples() -> None:
    """Exactly where all examples are in as many subsets: complements of subsets make them."""
    random = np.random.default_rng(5)
    subsets = fixed_size(random, 60, N, N // 2)
    subsets = np.concatenate([subsets, ~subsets])
    right = random.random((120, T)) < 0.6
    frame = group_influence(bits_of(subsets, right), GROUPS)
    for row in frame.to_dict("records"):
        members, z = np.flatnonzero(row["group"] == GROUPS), row["test_example_id"]
        single = [right[subsets[:, i], z].mean() - right[~subsets[:, i], z].mean() for i in members]
        variance = subsets[:, members].sum(axis=1).var()
        assert variance * row["per_example"] == pytest.approx(0.25 * sum(single))
    alone = group_influence(bits_of(subsets, right), np.where(np.arange(N) == 7, 0.0, np.nan))
    expected = right[subsets[:, 7]].mean(axis=0) - right[~subsets[:, 7]].mean(axis=0)
    np.testing.assert_allclose(alone["infl"], expected, atol=1e-12)


def test_runs_of_one_subset_are_one_observation() -> None:
    random = np.random.default_rng(6)
    subsets = np.repeat(fixed_size(random, 20, N, 20), 3, axis=0)
    right = random.random((60, T)) < 0.6
    shared = replace(bits_of(subsets, right), groups=np.repeat(np.arange(20), 3))
    frame = group_influence(shared, GROUPS)
    assert (frame["runs"] == 20).all()
    for row in frame.to_dict("records"):
        counts = subsets[::3, row["group"] == GROUPS].sum(axis=1)
        fit = stats.linregress(counts, right[:, row["test_example_id"]].reshape(20, 3).mean(axis=1))
        np.testing.assert_allclose([row["per_example"], row["per_example_se"]], [fit.slope, fit.stderr])


def test_p_values_are_uniform_where_groups_do_not_matter() -> None:
    """Test examples that are nearly always right, small groups: at most as many small p-values as there should be."""
    random = np.random.default_rng(7)
    right = random.random((200, 400)) < random.uniform(0.9, 1, 400)
    groups = np.repeat(np.arange(10.0), 8)
    frame = group_influence(bits_of(fixed_size(random, 200, 80, 40), right), groups)
    tested = frame[frame["per_example"] != 0]["p_value"]
    assert len(tested) > 3000
    assert stats.binomtest(int((tested <= 0.05).sum()), len(tested), 0.05).pvalue > 1e-3
    assert (tested <= 0.001).mean() < 0.003


def test_command_and_mistakes(measured: tuple[StoreView, Runs], tmp_path: Path) -> None:
    view, _ = measured
    table = pd.DataFrame({"example_id": np.arange(N), "cluster": np.arange(N) // 10})
    table.to_csv(tmp_path / "clusters.csv", index=False)
    options = ("--groups", str(tmp_path / "clusters.csv"), "--column", "cluster", "--on", "example")
    code, shown, errors = call("group-influence", view.store.uri, *options, "-o", str(tmp_path / "g.csv"))
    assert code == 0, errors
    assert "24 pairs of a group and a test example at ratio 0.5, from 89" in shown
    written = pd.read_csv(tmp_path / "g.csv")
    np.testing.assert_allclose(written["infl"], view.group_influence(groups=np.arange(N) // 10, on="example")["infl"])
    code, _, errors = call("group-influence", view.store.uri, "--groups", str(tmp_path / "none.csv"))
    assert (code, "none.csv" in errors) == (CampaignError.exit_code, True)
    bits = pack_runs(view.store)
    for groups, on, match in (
        (GROUPS[:5], "all", r"must be 40 numbers, one for each training example, got \(5,\)"),
        (np.full(N, np.nan), "all", "at least one number that is not NaN"),
        (GROUPS, "classes", "on must be one of example, class, all, got 'classes'"),
    ):
        with pytest.raises(EstimateError, match=match):
            group_influence(bits, groups, on=on)  # type: ignore[arg-type]
    with pytest.raises(TooManyPairsError, match="more than 5 pairs"):
        group_influence(bits, GROUPS, options=PairOptions(max_pairs=5))
