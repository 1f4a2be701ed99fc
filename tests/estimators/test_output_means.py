"""Estimates from outputs in place of correctness, beside slow references and scipy's Welch test."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import StoreView
from tests.synthetic import Runs, make_stores, random_runs
from workers.common.arrays import Floats
from workers.errors import EstimateError

N, T, RUNS = 9, 4, 14
RATIOS = (0.3, 0.7)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[StoreView, dict[float, Runs]]:
    """A store with margins of two ratios. At 0.7 example 0 is in every subset, 1 in all but one; one margin is NaN."""
    random = np.random.default_rng(3)
    runs = {}
    for ratio in RATIOS:
        bits = random_runs(random, RUNS, N, T, ratio)
        if ratio == RATIOS[1]:
            bits.subsets[:, 0], bits.subsets[:, 1] = True, np.arange(RUNS) != 4
        train, test = random.normal(2, 3, (RUNS, N)), random.normal(0, 1, (RUNS, T))
        train[5, 7] = np.nan
        outputs = {"train_margin": train.astype(np.float16), "test_margin": test.astype(np.float16)}
        runs[ratio] = Runs(bits.subsets, bits.train, bits.test, outputs=outputs, diverged=[2])
    return StoreView(make_stores(tmp_path_factory.mktemp("outputs") / "s", runs)), runs


def groups(runs: Runs, column: str, example: int, of: int) -> tuple[Floats, Floats]:
    """The outputs `column` of example `of` in runs with and without a training example, diverged and NaN left out."""
    used = np.arange(RUNS) != 2
    values = runs.outputs[column][used, of].astype(float)
    inside, known = runs.subsets[used, example], ~np.isnan(values)
    return values[inside & known], values[~inside & known]


def test_memorization_is_welchs_difference(measured: tuple[StoreView, dict[float, Runs]]) -> None:
    view, runs = measured
    compared = 0
    for row in view.memorization(output="margin", confidence=0.9).to_dict("records"):
        ratio, i = row["ratio"], row["example_id"]
        inside, outside = groups(runs[ratio], "train_margin", i, i)
        assert (row["n_in"], row["n_out"]) == (len(inside), len(outside))
        if min(len(inside), len(outside)) < 2:
            assert np.isnan([row["low"], row["high"], row["se"]]).all()
            assert np.isnan(row["mem"]) == (min(len(inside), len(outside)) == 0)
            continue
        result = stats.ttest_ind(inside, outside, equal_var=False)
        limits = result.confidence_interval(0.9)
        expected = [inside.mean() - outside.mean(), limits.low, limits.high, inside.mean(), outside.mean()]
        np.testing.assert_allclose([row[name] for name in ("mem", "low", "high", "mean_in", "mean_out")], expected)
        compared += 1
    assert compared >= 14


def test_cscore_is_the_mean_over_ratios(measured: tuple[StoreView, dict[float, Runs]]) -> None:
    view, runs = measured
    profile = view.consistency(output="margin")
    for i, row in enumerate(view.cscore(output="margin").to_dict("records")):
        held_out = [groups(runs[ratio], "train_margin", i, i)[1] for ratio in RATIOS]
        some = [values for values in held_out if len(values)]
        assert np.isclose(row["cscore"], np.mean([values.mean() for values in some]))
        assert row["n_ratios"] == len(some)
        for ratio, values in zip(RATIOS, held_out, strict=True):
            consistency = profile[(profile["ratio"] == ratio) & (profile["example_id"] == i)]["consistency"].item()
            assert np.isclose(consistency, values.mean()) if len(values) else np.isnan(consistency)
        if min(map(len, some)) < 2:
            continue
        shares = np.array([values.var(ddof=1) / len(values) for values in some]) / len(some) ** 2
        degrees = shares.sum() ** 2 / sum(share**2 / (len(v) - 1) for share, v in zip(shares, some, strict=True))
        low, high = stats.t.interval(0.95, degrees, row["cscore"], np.sqrt(shares.sum()))
        np.testing.assert_allclose([row["low"], row["high"]], [low, high])


def test_influence_is_welchs_difference_whatever_the_blocks(measured: tuple[StoreView, dict[float, Runs]]) -> None:
    view, runs = measured
    frame = view.influence(ratio=0.3, output="margin", threshold=-100.0, tests=[0, 2, 3])
    small = view.influence(ratio=0.3, output="margin", threshold=-100.0, tests=[0, 2, 3], memory_mb=1e-6)
    pd.testing.assert_frame_equal(frame, small)  # but for rounding
    seen = set()
    for row in frame.to_dict("records"):
        inside, outside = groups(runs[0.3], "test_margin", row["example_id"], row["test_example_id"])
        result = stats.ttest_ind(inside, outside, equal_var=False)
        limits = result.confidence_interval(0.95)
        expected = [inside.mean() - outside.mean(), limits.low, limits.high, inside.mean(), outside.mean()]
        found = [row[name] for name in ("infl", "low", "high", "mean_in", "mean_out")]
        np.testing.assert_allclose(found, expected, atol=1e-9)
        seen.add((row["test_example_id"], row["example_id"]))
    enough = [i for i in range(N) if min(map(len, groups(runs[0.3], "test_margin", i, 0))) > 1]
    assert seen == {(z, i) for z in (0, 2, 3) for i in enough}
    top = view.influence(ratio=0.3, output="margin", top=2, tests=[0, 2, 3])
    first = frame.groupby("test_example_id").head(2).reset_index(drop=True)
    assert top["rank"].tolist() == [1, 2] * 3
    assert top.drop(columns="rank").equals(first)


def test_an_output_that_is_not_recorded(measured: tuple[StoreView, dict[float, Runs]]) -> None:
    view, _ = measured
    with pytest.raises(EstimateError, match=r"has no 'loss' of train examples: .* recorded: margin"):
        view.memorization(output="loss")
    with pytest.raises(EstimateError, match=r"has no 'probability' of test examples: .* recorded: margin"):
        view.influence(ratio=0.3, output="probability")
