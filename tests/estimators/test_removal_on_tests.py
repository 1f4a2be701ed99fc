"""Removal on chosen test examples: differences, points that add up, and the share with Fieller's limits."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import EstimateError, open_store, removal_on_tests
from analysis.estimators.removal_on_tests import ALL, COLUMNS, OTHERS, SELECTED
from tests.command import call
from tests.explicit_subsets import by_threshold, explicit, explicit_store, resolved
from tests.stores import NUM_TEST, NUM_TRAIN, results
from workers.campaign.campaign import PPM, Campaign
from workers.campaign.keys import Shard
from workers.store import Store

CHOSEN = [1, 3]


def store_of(path: Path, campaign: Campaign, right: dict[tuple[int, int], np.ndarray], diverged: int = -1) -> Store:
    """Runs (ratio in ppm, repetition) that are right on bool[T]."""
    store = explicit_store(path, campaign)
    for ratio_ppm in campaign.subsets.ratios_ppm:
        shard = Shard(ratio_ppm, 0, campaign.subsets.repetitions)
        runs = []
        for run in results(shard):
            key = (ratio_ppm, run.run.repetition)
            run = replace(run, epochs=[replace(run.epochs[0], test_correct=right[key])])
            runs.append(replace(run, status="diverged") if run.run.repetition == diverged else run)
        store.commit(shard, runs)
    return store


def random_right(campaign: Campaign, seed: int) -> dict[tuple[int, int], np.ndarray]:
    """Removal costs the chosen test examples most."""
    random = np.random.default_rng(seed)
    right = {}
    for ratio_ppm in campaign.subsets.ratios_ppm:
        for k in range(campaign.subsets.repetitions):
            p = np.full(NUM_TEST, 0.9)
            if ratio_ppm < PPM:
                p[CHOSEN] = 0.2 if k % 2 == 0 else 0.8
            right[ratio_ppm, k] = random.random(NUM_TEST) < p
    return right


def fieller_distance(control: np.ndarray, own: np.ndarray, part: np.ndarray, share: float, at: float) -> float:
    """|D(y) - r D(x)| in standard errors, less Student's quantile at the degrees of freedom that Welch has at R."""
    mask = np.isin(np.arange(NUM_TEST), part)
    residuals = [(each & mask).sum(axis=1) - share * each.sum(axis=1) for each in (control, own)]
    degrees = float(stats.ttest_ind(*residuals, equal_var=False).df)
    at_limit = [(each & mask).sum(axis=1) - at * each.sum(axis=1) for each in (control, own)]
    statistic = float(stats.ttest_ind(*at_limit, equal_var=False).statistic)
    return abs(statistic) - float(stats.t.ppf(0.95, degrees))


@pytest.mark.slow
def test_losses_and_shares_are_those_of_the_definitions(tmp_path: Path) -> None:
    """A rule, as many random removals, and nothing removed; a diverged run counts nowhere."""
    campaign = resolved(
        by_threshold({"at_least": 7}, {"at_least": 1000}, "random", repetitions=40), np.arange(float(NUM_TRAIN))
    )
    right = random_right(campaign, 0)
    store = store_of(tmp_path / "s", campaign, right, diverged=6)
    frame = open_store(store.uri).removal_on_tests([3, 1, 3], confidence=0.9)
    assert list(frame.columns) == list(COLUMNS)
    low_ratio = min(campaign.subsets.ratios_ppm)
    groups = {
        "nothing": [right[PPM, k] for k in range(40) if k != 6],
        "at least": [right[low_ratio, k] for k in range(0, 40, 2) if k != 6],
        "random": [right[low_ratio, k] for k in range(1, 40, 2)],
    }
    found = frame[["rule", "control", "test_examples", "count", "runs", "control_runs"]].to_numpy().tolist()
    assert found == [
        [rule, control, part, count, len(groups[rule]), runs]
        for rule, control, runs in (
            ("nothing", "none", 0),
            ("at least", "random", 20),
            ("at least", "all examples", 39),
            ("random", "all examples", 39),
        )
        for part, count in ((ALL, 5), (SELECTED, 2), (OTHERS, 3))
    ]
    assert frame[frame["control"] == "none"][["difference", "points", "share"]].isna().all(axis=None)
    parts: dict[str, Any] = {ALL: range(NUM_TEST), SELECTED: CHOSEN, OTHERS: [0, 2, 4]}
    for row in frame[frame["control"] != "none"].to_dict("records"):
        own = np.array(groups[row["rule"]])
        control = np.array(groups["random" if row["control"] == "random" else "nothing"])
        part = np.array(list(parts[row["test_examples"]]))
        accuracies = [each[:, part].mean(axis=1) for each in (control, own)]
        expected = stats.ttest_ind(*accuracies, equal_var=False)
        assert row["accuracy"] == pytest.approx(accuracies[1].mean())
        assert row["difference"] == pytest.approx(accuracies[0].mean() - accuracies[1].mean())
        if row["difference_se"] and row["se"] and row["control_se"]:
            assert row["difference"] / row["difference_se"] == pytest.approx(expected.statistic)
            limits = expected.confidence_interval(0.9)
            assert (row["difference_low"], row["difference_high"]) == pytest.approx((limits.low, limits.high))
        assert row["points"] == pytest.approx(row["difference"] * len(part) / NUM_TEST)
        if row["control"] == "all examples" and row["rule"] == "at least" and row["test_examples"] != ALL:
            assert row["share_low"] < row["share"] < row["share_high"]
            for limit in (row["share_low"], row["share_high"]):
                assert fieller_distance(control, own, part, row["share"], limit) == pytest.approx(0, abs=1e-9)
    for _, rows in frame.groupby(["rule", "control"]):
        points, shares = (rows.set_index("test_examples")[name] for name in ("points", "share"))
        assert points[SELECTED] + points[OTHERS] == pytest.approx(points[ALL], nan_ok=True)
        assert shares[SELECTED] + shares[OTHERS] == pytest.approx(shares[ALL], nan_ok=True)


@pytest.mark.slow
def test_the_standard_error_of_a_share_is_that_of_many_campaigns() -> None:
    """The delta method beside the spread of the ratio over simulated campaigns."""
    from analysis.estimators.removal_on_tests import _share

    random = np.random.default_rng(3)

    def groups(runs: int, chosen: float) -> tuple[np.ndarray, np.ndarray]:
        y = random.binomial(20, chosen, runs).astype(float)
        return y, y + random.binomial(80, 0.9, runs)

    found = [_share(groups(30, 0.9), groups(20, 0.4), confidence=0.95) for _ in range(800)]
    shares, errors = (np.array([each[name] for each in found]) for name in ("share", "share_se"))
    assert np.sqrt((errors**2).mean()) == pytest.approx(shares.std(), rel=0.08)
    inside = np.mean([each["share_low"] <= 1 <= each["share_high"] for each in found])
    assert 0.93 <= inside <= 0.97  # the others lose nothing


def test_a_difference_that_may_be_nothing_has_a_share_without_limits(tmp_path: Path) -> None:
    campaign = resolved(by_threshold({"at_least": 7}, "random", repetitions=4), np.arange(float(NUM_TRAIN)))
    (ratio_ppm,) = campaign.subsets.ratios_ppm
    bits = np.array([[1, 1, 0, 0, 1], [1, 0, 1, 0, 0], [0, 1, 0, 1, 0], [0, 1, 1, 0, 1]], dtype=bool)
    right = {(ratio_ppm, k): bits[k] for k in range(4)}
    frame = removal_on_tests(store_of(tmp_path / "s", campaign, right), np.arange(NUM_TEST) < 2)
    row = frame[(frame["rule"] == "at least") & (frame["test_examples"] == SELECTED)].iloc[0]
    # 3 and 2 right of the rule's runs, 2 and 3 of random ones: the whole difference is 0.
    assert row["points"] == pytest.approx(-0.1) and np.isnan([row["share"], row["share_se"], row["share_low"]]).all()
    same = dict.fromkeys(right, bits[0])
    equal = removal_on_tests(store_of(tmp_path / "t", campaign, same), range(NUM_TEST))
    assert equal["test_examples"].unique().tolist() == [ALL, SELECTED] and equal["share"].isna().all()


def test_which_test_examples(tmp_path: Path) -> None:
    store = explicit_store(tmp_path / "s", explicit())
    with pytest.raises(EstimateError, match="tests must select at least one of the store's"):
        removal_on_tests(store, [])
    for outside in (NUM_TEST, -1):
        with pytest.raises(EstimateError, match=f"tests must be ids from 0 to {NUM_TEST - 1}, got {outside}"):
            removal_on_tests(store, [outside])


def test_the_command_reads_pairs_and_writes_both_tables(tmp_path: Path) -> None:
    campaign = resolved(
        by_threshold({"at_least": 7}, {"at_least": 1000}, "random", repetitions=8), np.arange(float(NUM_TRAIN))
    )
    store = store_of(tmp_path / "s", campaign, random_right(campaign, 1))
    pairs = tmp_path / "pairs.csv"
    pd.DataFrame({"test_example_id": [3, 1, 3], "example_id": [0, 1, 1], "infl": 0.3}).to_csv(pairs, index=False)
    code, output, errors = call("removal", store.uri, "--test-examples", pairs, "-o", tmp_path / "r.csv")
    assert code == 0, errors
    frame = removal_on_tests(store, CHOSEN)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "r-test-examples.csv"), frame, check_dtype=False)
    assert "on 2 test examples selected, and on the others:" in output and "r-test-examples.csv" in output
    code, output, _ = call("removal", store.uri, "--test-examples", pairs)
    assert code == 0 and "estimates/removal_test_examples.parquet" in output
    for content, message in (
        ("test_example_id\n5\n", "column test_example_id must hold ids of 0 to 4, got 5"),
        ("test_example_id\n", "column test_example_id must hold whole numbers, got null"),
        ("test_example_id\n0.5\n", "column test_example_id must hold whole numbers, got double"),
        ("example_id\n1\n", "has no column 'test_example_id', only example_id"),
    ):
        pairs.write_text(content)
        code, _, errors = call("removal", store.uri, "--test-examples", pairs)
        assert (code, message in errors, len(errors.splitlines())) == (2, True, 1), errors
