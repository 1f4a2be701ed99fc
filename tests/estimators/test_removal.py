"""Removal curves: means over the runs of each rule, and the difference from as many random removals."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import (
    EstimateError,
    count_first_runs,
    mean_interval,
    open_store,
    plot,
    removal_curve,
    with_removed_scores,
)
from analysis.estimators.removal import mean_of_runs
from tests.command import call
from tests.conftest import small_campaign
from tests.explicit_subsets import by_threshold, explicit, explicit_store, resolved
from tests.stores import NUM_TEST, NUM_TRAIN, header, results
from workers.campaign.campaign import PPM
from workers.campaign.keys import Shard
from workers.store import RunResult, Store, examples_table


def test_runs_of_one_accuracy_leave_an_interval() -> None:
    found = mean_of_runs(np.array([0.95, 0.95]), 0.95, 360)
    low, high = mean_interval(np.array(0.95), np.array(720))
    assert found == {"test_accuracy": 0.95, "se": 0, "low": float(low), "high": float(high)}
    assert mean_of_runs(np.array([1.0, 1.0]), 0.95, 360)["low"] < 0.996
    assert mean_of_runs(np.array([0.3, 0.1 + 0.2]), 0.95, 360)["low"] < 0.27


def test_a_removal_curve_is_means_over_the_runs_of_each_rule(tmp_path: Path) -> None:
    campaign = explicit(drop=["highest", {"window": 0.25}, "random"], ratios=[0.8, 1.0], repetitions=8)
    campaign = campaign.model_copy(update={"record": small_campaign(record={"epochs": "all"}).record})
    store = explicit_store(tmp_path / "s", campaign)
    made = {}
    for ratio_ppm, start, stop in ((800_000, 0, 3), (800_000, 3, 8), (PPM, 0, 2)):
        shard = Shard(ratio_ppm, start, stop)
        runs = results(shard, seed=ratio_ppm)
        if start == 3:
            runs[1] = replace(runs[1], epochs=runs[1].epochs[:1], status="diverged")  # repetition 4: window
        made.update({(ratio_ppm, run.run.repetition): run for run in runs if run.status == "completed"})
        store.commit(shard, runs)
    for epoch in (None, 1):
        frame = removal_curve(store, epoch, confidence=0.9)
        assert frame[["rule", "ratio", "removed", "runs", "diverged"]].to_numpy().tolist() == [
            ["highest", 1.0, 0.0, 1, 0],
            ["highest", 0.8, 0.2, 3, 0],
            ["window 0.25", 1.0, 0.0, 1, 0],
            ["window 0.25", 0.8, 0.2, 2, 1],
            ["random", 0.8, 0.2, 2, 0],
        ]
        for row in frame.to_dict("records"):
            place = ["highest", "window 0.25", "random"].index(row["rule"])
            ratio_ppm = round(row["ratio"] * PPM)
            right = [
                made[ratio_ppm, k].epochs[(epoch or 2) - 1].test_correct.mean()
                for k in range(place, 8, 3)
                if (ratio_ppm, k) in made
            ]
            assert row["test_accuracy"] == pytest.approx(np.mean(right))
            if len(right) == 1:
                assert np.isnan([row["se"], row["low"], row["high"]]).all()
                continue
            assert row["se"] == pytest.approx(stats.sem(right))
            low, high = (
                stats.t.interval(0.9, len(right) - 1, np.mean(right), stats.sem(right))
                if row["se"]
                else mean_interval(np.mean(right), len(right) * 5, 0.9)
            )
            assert (row["low"], row["high"]) == pytest.approx((max(float(low), 0), min(float(high), 1)))
    axes = plot.removal(frame)
    assert len(axes.containers) == 3 <= len(axes.get_lines())
    with pytest.raises(EstimateError, match=r"epoch must be one of 1, 2 \(those recorded\), got 3"):
        removal_curve(store, 3)
    with pytest.raises(EstimateError, match="confidence must be"):
        removal_curve(store, confidence=1)


def final_only(runs: list[RunResult]) -> list[RunResult]:
    """Imaginary runs of one recorded epoch."""
    return [replace(run, epochs=run.epochs[:1]) for run in runs]


def test_a_rule_is_compared_with_as_many_random_removals(tmp_path: Path) -> None:
    """Welch's interval, against SciPy's; the sign; Newcombe's where runs have one accuracy."""
    campaign = resolved(
        by_threshold({"at_least": 7}, {"at_least": 4}, "random", repetitions=8), np.arange(float(NUM_TRAIN))
    )
    store = explicit_store(tmp_path / "s", campaign)
    for ratio_ppm in campaign.subsets.ratios_ppm:
        shard = Shard(ratio_ppm, 0, 8)
        store.commit(shard, final_only(results(shard, seed=ratio_ppm)))
    frame, runs = removal_curve(store, confidence=0.9), open_store(store.uri).runs()
    assert frame[["rule", "examples_removed", "runs", "random_runs"]].to_numpy().tolist() == [
        ["at least", NUM_TRAIN - 7, 4, 4],
        ["at least", NUM_TRAIN - 4, 4, 4],
        ["random", NUM_TRAIN - 7, 4, 0],
        ["random", NUM_TRAIN - 4, 4, 0],
    ]
    assert frame["threshold"].tolist()[:2] == [7, 4] and frame.loc[2:, "difference":].isna().all(axis=None)
    for row in frame.iloc[:2].to_dict("records"):
        own, random = (
            runs.loc[(runs["ratio"] == row["ratio"]) & (runs["repetition"] % 2 == k), "test_accuracy"] for k in (0, 1)
        )
        found = stats.ttest_ind(random, own, equal_var=False)
        assert row["difference"] == pytest.approx(random.mean() - own.mean())
        assert row["difference_se"] == pytest.approx(row["difference"] / found.statistic)
        limits = found.confidence_interval(0.9)
        assert (row["difference_low"], row["difference_high"]) == pytest.approx((limits.low, limits.high))
    # The mean score of the examples removed, of the runs' own subsets; scores are 0, 1, 2, ...
    stored = pd.read_parquet(f"{store.uri}/results", columns=["ratio", "repetition", "subset", "is_final"])
    stored = stored[stored["is_final"]]
    scored = with_removed_scores(store, frame)
    for row in scored.to_dict("records"):
        mine = stored[(stored["ratio"] == row["ratio"]) & (stored["repetition"] % 2 == (row["rule"] == "random"))]
        means = [np.mean([i for i, kept in enumerate(subset) if not kept]) for subset in mine["subset"]]
        assert row["removed_score"] == pytest.approx(np.mean(means))
    drawn = plot.removal(scored, by_score=True)
    assert drawn.get_xlabel() == "mean score of the examples removed"
    axes = plot.marginal_utility(frame)
    assert sorted(text.get_text() for text in axes.texts) == ["4", "7"]
    with pytest.raises(EstimateError, match="subsets.drop must have the rule random"):
        plot.marginal_utility(frame[frame["rule"] == "random"])


def test_a_plot_of_differences_needs_them_and_a_file_of_its_own(tmp_path: Path) -> None:
    campaign = resolved(by_threshold({"at_least": 7}), np.arange(float(NUM_TRAIN)))
    store = explicit_store(tmp_path / "s", campaign)
    shard = Shard(campaign.subsets.ratios_ppm[0], 0, 2)
    store.commit(shard, final_only(results(shard)))
    code, _, said = call("removal", store.uri, "-o", tmp_path / "o.csv", "--difference-plot", tmp_path / "d.png")
    assert (code, len(said.splitlines())) == (2, 1) and "--difference-plot: needs runs of the rule random" in said
    same = tmp_path / "d.png"
    code, _, said = call("removal", store.uri, "--plot", same, "--difference-plot", same)
    assert code == 2 and "--difference-plot: must be another file than --plot" in said
    assert [each.name for each in tmp_path.iterdir()] == ["s"]


def test_equal_accuracies_leave_an_interval_of_the_difference(tmp_path: Path) -> None:
    campaign = resolved(by_threshold({"at_least": 7}, "random"), np.arange(float(NUM_TRAIN)))
    store = explicit_store(tmp_path / "s", campaign)
    shard = Shard(campaign.subsets.ratios_ppm[0], 0, 4)
    right = np.arange(NUM_TEST) < 3
    runs = final_only(results(shard))
    store.commit(shard, [replace(run, epochs=[replace(run.epochs[0], test_correct=right)]) for run in runs])
    row = removal_curve(store).iloc[0]
    low, high = mean_interval(np.array(0.6), np.array(2 * NUM_TEST))
    reach = float(np.hypot(0.6 - low, high - 0.6))
    assert (row["difference"], row["difference_se"]) == (0, 0)
    assert (row["difference_low"], row["difference_high"]) == pytest.approx((-reach, reach))


def test_what_explicit_subsets_do_not_give(tmp_path: Path) -> None:
    store = explicit_store(tmp_path / "s")
    with pytest.raises(EstimateError, match="has no committed run"):
        removal_curve(store)
    store.commit(Shard(800_000, 0, 2), [replace(run, epochs=run.epochs[:1]) for run in results(Shard(800_000, 0, 2))])
    view = open_store(store.uri)
    assert len(view.subsets()) == len(view.runs()) == 2
    for estimate in (
        view.memorization,
        view.consistency,
        view.cscore,
        view.influence,
        view.discoveries,
        view.influence_matrix,
        view.influential_pairs,
        view.datamodels,
        view.reliability,
        view.forgetting,
        lambda: view.expected_se(10),
        lambda: count_first_runs(store, 800_000, 2),
    ):
        with pytest.raises(EstimateError, match=r"its subsets are explicit, not random; what it has is a removal"):
            estimate()
    zeros = np.zeros(NUM_TRAIN, int)
    plain = Store.create(tmp_path / "plain", header(), examples_table(zeros, zeros, np.zeros(5, int)))
    with pytest.raises(EstimateError, match="has no removal curve: subsets.design must be explicit, got uniform"):
        removal_curve(plain)
