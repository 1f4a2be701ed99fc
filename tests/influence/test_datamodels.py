"""Linear datamodels: planted models, closed forms, slow references, and what is refused."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import LassoCV, Ridge, RidgeCV
from typer.testing import CliRunner

from analysis import Datamodels, EstimateError, RatioOutputs, StoreView, fit_datamodels, read_outputs
from analysis.influence.datamodels.datamodeling_score import datamodeling_score, rank_correlation
from analysis.influence.datamodels.fitting import strongest_weights
from analysis.influence.datamodels.linear_fits import (
    LASSO_FOLDS,
    LASSO_PENALTIES,
    RIDGE_PENALTIES,
    InfluenceFit,
    LassoFit,
    RidgeFit,
)
from analysis.reading.examples import Labels
from analysis.reading.membership import Membership
from orchestrator.cli.app import app
from orchestrator.cli.options import parse_ids
from tests.synthetic import Labelled, make_store, random_runs
from workers.common.arrays import Floats
from workers.errors import CampaignError, StoreError
from workers.store import Store

RUNS, TRAIN, TESTS = 300, 40, 12


def drawn_subsets(random: np.random.Generator, runs: int = RUNS, train: int = TRAIN, ratio: float = 0.5) -> Any:
    """Subsets of one size, as campaigns draw them."""
    return np.argsort(random.random((runs, train)), axis=1) < int(ratio * train)


def source(subsets: npt.NDArray[np.bool_], outputs: npt.NDArray[Any], ratio_ppm: int = 500_000) -> RatioOutputs:
    """The outputs of made-up runs."""
    num_train, num_test = subsets.shape[1], outputs.shape[1]
    ids = np.arange(num_train)
    return RatioOutputs(
        ratio_ppm=ratio_ppm,
        output="margin",
        epoch=1,
        diverged=0,
        not_finite=0,
        saturated=0,
        labels=Labels(ids % 3, ids % 2, np.arange(num_test) % 3),
        tests=np.arange(num_test),
        subsets=subsets,
        outputs=outputs.astype(np.float32),
        groups=np.arange(len(subsets)),
    )


def planted(noise: float, runs: int = RUNS, seed: int = 0) -> tuple[RatioOutputs, Floats]:
    """Outputs linear in the subset but for Gaussian noise, and the weights: five of each test example's are not 0."""
    random = np.random.default_rng(seed)
    weights = np.zeros((TESTS, TRAIN))
    for row in weights:
        row[random.choice(TRAIN, 5, replace=False)] = random.choice([-1, 1], 5) * random.uniform(1, 2, 5)
    subsets = drawn_subsets(random, runs)
    return source(subsets, subsets @ weights.T + noise * random.normal(size=(runs, TESTS))), weights


def dense(found: Datamodels) -> Floats:
    """The weights table as float64[TESTS, TRAIN]."""
    matrix = np.zeros((TESTS, TRAIN))
    matrix[found.weights["test_example_id"], found.weights["example_id"]] = found.weights["weight"]
    return matrix


# What is fitted -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ridge", "lasso"])
def test_a_planted_model_is_recovered(method: Any) -> None:
    given, weights = planted(noise=0.01)
    found = fit_datamodels(given, method=method, top=TRAIN)
    # Subsets of one size leave the weights' common level open.
    fitted, true = (each - each.mean(axis=1, keepdims=True) for each in (dense(found), weights))
    np.testing.assert_allclose(fitted, true, atol=0.15)
    assert found.score.mean > 0.99
    first = found.weights[found.weights["rank"] <= 5]
    for test in range(TESTS):
        of_test = first[first["test_example_id"] == test]
        assert set(of_test["example_id"]) == set(np.flatnonzero(weights[test])), "the planted ones come first"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ridge", "lasso"])
def test_the_score_is_near_its_ceiling(method: Any) -> None:
    """No predictor can beat the true one, whose rank correlation is known: 6/pi asin(rho/2)."""
    noise = 2.0
    given, weights = planted(noise, runs=1000)
    # Of a subset of fixed size: variance of a sum of TRAIN/2 weights drawn without replacement.
    signal = weights.var(axis=1) * TRAIN**2 / 4 / (TRAIN - 1)
    ceiling = (6 / np.pi * np.arcsin(np.sqrt(signal / (signal + noise**2)) / 2)).mean()
    found = fit_datamodels(given, method=method, heldout=0.5)
    assert ceiling - 0.04 < found.score.mean < ceiling + 3 * found.score.mean_se
    assert 0.001 < found.score.mean_se < 0.02
    assert found.influence_score.mean < found.score.mean + found.score.mean_se


@pytest.mark.slow
@pytest.mark.parametrize("runs", [30, 90])
def test_ridge_is_the_closed_form(runs: int) -> None:
    """In the dual form as in the primal one, with the penalty that leaves one run out at a time on the raw columns."""
    random = np.random.default_rng(1)
    subsets, outputs = drawn_subsets(random, runs), random.normal(size=(runs, 4))
    weights, penalties = RidgeFit(Membership.centred(subsets)).weights(outputs)
    x, y = subsets - subsets.mean(axis=0), outputs - outputs.mean(axis=0)
    scale = (x**2).sum() / runs
    for row, penalty, output in zip(weights, penalties, y.T, strict=True):
        slow = np.linalg.solve(x.T @ x + penalty * np.eye(TRAIN), x.T @ output)
        np.testing.assert_allclose(row, slow, atol=1e-9)
        np.testing.assert_allclose(row, Ridge(penalty).fit(subsets.astype(float), output).coef_, atol=1e-7)
    still, penalties_of_still = RidgeFit(Membership.centred(subsets)).weights(np.full((runs, 2), 0.1))
    assert not still.any(), "outputs that never change"
    assert np.isnan(penalties_of_still).all()
    slowest = [_left_out_one_by_one(subsets, outputs[:, 0], penalty) for penalty in RIDGE_PENALTIES * scale]
    assert penalties[0] == pytest.approx(RIDGE_PENALTIES[np.argmin(slowest)] * scale)
    usual = RidgeCV(RIDGE_PENALTIES * scale, alpha_per_target=True).fit(x, outputs)
    np.testing.assert_allclose(penalties, usual.alpha_)


def _left_out_one_by_one(subsets: npt.NDArray[np.bool_], output: Floats, penalty: float) -> float:
    errors = []
    for k in range(len(output)):
        fitted = Ridge(penalty).fit(np.delete(subsets, k, axis=0).astype(float), np.delete(output, k))
        errors.append((fitted.predict(subsets[k : k + 1].astype(float))[0] - output[k]) ** 2)
    return float(np.mean(errors))


def test_lasso_is_scikit_learns() -> None:
    given, _ = planted(noise=3.0, runs=80)
    fit = LassoFit(Membership.centred(given.subsets))
    output = given.outputs[:, 3].astype(float)
    weights, penalties = fit.weights(np.stack([output, np.full(80, 2.0)], axis=1))
    usual = LassoCV(eps=0.1, alphas=LASSO_PENALTIES, cv=LASSO_FOLDS).fit(given.subsets.astype(float), output)
    assert usual.alpha_ > usual.alphas_.min()
    np.testing.assert_allclose(weights[0], usual.coef_, atol=1e-6)
    assert penalties[0] == pytest.approx(usual.alpha_)
    assert not weights[1].any(), "an output that never changes"
    assert np.isnan(penalties[1])


def test_lasso_goes_on_to_smaller_penalties_where_they_are_better() -> None:
    given, weights = planted(noise=1e-3)
    found, penalties = LassoFit(Membership.centred(given.subsets)).weights(given.outputs[:, :1].astype(float))
    x, y = given.subsets - given.subsets.mean(axis=0), given.outputs[:, 0] - given.outputs[:, 0].mean()
    assert penalties[0] < 0.011 * np.abs(x.T @ y).max() / RUNS
    np.testing.assert_allclose(found[0], weights[0], atol=0.05)


def test_influence_is_the_difference_of_means() -> None:
    random = np.random.default_rng(2)
    subsets = random.random((25, 9)) < 0.6
    subsets[:, 3], subsets[:, 5] = True, False
    outputs = random.normal(size=(25, 4))
    found = InfluenceFit(Membership.centred(subsets)).weights(outputs)
    for i in range(9):
        inside = subsets[:, i]
        slow = outputs[inside].mean(axis=0) - outputs[~inside].mean(axis=0) if 0 < inside.sum() < 25 else np.zeros(4)
        np.testing.assert_allclose(found[:, i], slow, atol=1e-12)


@pytest.mark.slow
def test_blocks_do_not_change_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    subsets = drawn_subsets(random, 20)
    members = Membership.centred(subsets)
    x, factors, weights = members.dense(), random.normal(size=(20, 3)), random.normal(size=(3, TRAIN))
    for values in (1, 20 * 7, 1 << 22):
        monkeypatch.setattr("analysis.reading.membership._VALUES", values)
        np.testing.assert_allclose(members.gram(), x @ x.T, atol=1e-12)
        np.testing.assert_allclose(members.combine(factors), factors.T @ x, atol=1e-12)
        np.testing.assert_allclose(members.predict(weights), x @ weights.T, atol=1e-12)
    given, _ = planted(noise=1.0)
    whole = fit_datamodels(given)
    monkeypatch.setattr("analysis.influence.datamodels.fitting._BLOCK_VALUES", 5 * RUNS)
    steps: list[tuple[int, int]] = []
    blocks = fit_datamodels(given, progress=lambda done, total: steps.append((done, total)))
    pd.testing.assert_frame_equal(whole.weights, blocks.weights)
    assert len(steps) > 1
    assert steps[-1] == (TESTS, TESTS)


# The score ------------------------------------------------------------------------------------------------------------


def test_rank_correlation_is_scipys_but_for_constants() -> None:
    random = np.random.default_rng(4)
    predicted, actual = random.normal(size=(30, 5)), random.integers(0, 4, size=(30, 5)).astype(float)
    found = rank_correlation(predicted, actual)
    np.testing.assert_allclose(found, [spearmanr(*pair).statistic for pair in zip(predicted.T, actual.T, strict=True)])
    actual[:, 1], predicted[:, 1:3] = 1, 0
    found = rank_correlation(predicted, actual)
    assert np.isnan(found[1]), "nothing to predict"
    assert found[2] == 0, "nothing predicted"


@pytest.mark.slow
def test_standard_errors_are_those_of_repeated_draws() -> None:
    """Held-out runs that all test examples share: the spread of the mean over fresh draws of them."""
    random = np.random.default_rng(5)
    scores = []
    for _ in range(200):
        shared = random.normal(size=(80, 1))
        predicted = shared + random.normal(size=(80, 6))
        scores.append(datamodeling_score(predicted, shared + random.normal(size=(80, 6))))
    spread = np.std([score.mean for score in scores])
    assert np.mean([score.mean_se for score in scores]) == pytest.approx(spread, rel=0.2)
    each = np.std([score.lds for score in scores], axis=0)
    np.testing.assert_allclose(np.mean([score.se for score in scores], axis=0), each, rtol=0.25)


def test_scores_without_anything_to_predict_are_left_out_of_the_mean() -> None:
    random = np.random.default_rng(6)
    predicted, actual = random.normal(size=(2, 20, 3))
    actual[:, 0] = 1
    score = datamodeling_score(predicted, actual)
    assert score.tests == 2
    assert score.mean == pytest.approx(score.lds[1:].mean())
    assert np.isfinite(score.mean_se)
    nothing = datamodeling_score(predicted, np.ones((20, 3)))
    assert nothing.tests == 0
    assert np.isnan(nothing.mean)
    assert np.isnan(nothing.mean_se)


@pytest.mark.slow
def test_scores_are_of_runs_that_were_not_fitted() -> None:
    """Noise is fitted, but not predicted."""
    random = np.random.default_rng(7)
    found = fit_datamodels(source(drawn_subsets(random), random.normal(size=(RUNS, TESTS))), heldout=0.3, seed=1)
    assert (found.fitted_runs, found.heldout_runs) == (210, 90)
    assert abs(found.score.mean) < 0.15
    again = fit_datamodels(found.source, heldout=0.3, seed=1)
    pd.testing.assert_frame_equal(found.scores, again.scores)
    other = fit_datamodels(found.source, heldout=0.3, seed=2)
    assert not np.allclose(found.scores["lds"], other.scores["lds"])


# Tables ---------------------------------------------------------------------------------------------------------------


def test_strongest_weights_by_size_then_id() -> None:
    ids, weights = strongest_weights(np.array([0.0, -2.0, 1.0, 2.0, 0.0, 1.0]), 3)
    assert (ids.tolist(), weights.tolist()) == ([1, 3, 2], [-2.0, 2.0, 1.0])
    assert strongest_weights(np.array([0.0, 1.0, 0.0]), 9)[0].tolist() == [1]
    assert strongest_weights(np.zeros(3), 2)[0].tolist() == []


@pytest.fixture
def view(tmp_path: Path) -> StoreView:
    """60 runs with margins that the first training example decides, 13 training and 6 test examples; two diverged."""
    random = np.random.default_rng(8)
    runs = random_runs(random, 60, 13, 6)
    margin = (3 * runs.subsets[:, :1] + random.normal(size=(60, 6))).astype(np.float16)
    labels = Labelled([i % 3 for i in range(13)], [i % 2 for i in range(13)], [i % 3 for i in range(6)])
    given: Any = {"labels": labels, "diverged": [1, 10], "outputs": {"test_margin": margin}}
    return StoreView(make_store(tmp_path / "s", runs.subsets, runs.train, margin > 0, **given))


@pytest.mark.slow
def test_the_view_fits_what_the_store_holds(view: StoreView) -> None:
    found = view.datamodels(top=3)
    assert (found.source.output, found.source.diverged, found.source.runs) == ("margin", 2, 58)
    assert (found.fitted_runs, found.heldout_runs) == (46, 12)
    first = found.weights[found.weights["rank"] == 1]
    assert first["example_id"].tolist() == [0] * 6
    assert first["test_label"].tolist() == [0, 1, 2, 0, 1, 2]
    assert (first["weight"] > 0).all()
    assert found.weights["given_label"].tolist() == [i % 2 for i in found.weights["example_id"]]
    assert found.weights.groupby("test_example_id").size().tolist() == [3] * 6
    assert found.scores["test_example_id"].tolist() == list(range(6))
    few = view.datamodels(tests=[4, 1, 4])
    assert few.scores["test_example_id"].tolist() == [1, 4]
    pd.testing.assert_series_equal(
        few.scores["lds"], found.scores["lds"].iloc[[1, 4]].reset_index(drop=True), rtol=1e-9
    )
    mask = view.datamodels(tests=np.arange(6) == 4)
    assert mask.scores["test_example_id"].tolist() == [4]
    assert view.margins().shape == (60, 6)
    assert (view.margins().to_numpy() > 0).tolist() == view.correctness("test").to_numpy().tolist()


def test_runs_with_margins_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    random = np.random.default_rng(9)
    runs = random_runs(random, 40, 5, 3)
    margin = random.normal(size=(40, 3)).astype(np.float16)
    margin[7, 2] = np.nan
    view = StoreView(make_store(tmp_path / "s", runs.subsets, runs.train, runs.test, outputs={"test_margin": margin}))
    assert (view.datamodels().source.runs, view.datamodels().source.not_finite) == (39, 1)
    assert read_outputs(view.store, tests=[0, 1]).runs == 40


@pytest.mark.slow
def test_without_margins_correctness_is_predicted(tmp_path: Path) -> None:
    random = np.random.default_rng(10)
    runs = random_runs(random, 200, 8, 4)
    test = runs.subsets[:, :4].copy()
    test[:, 3] = True
    view = StoreView(make_store(tmp_path / "s", runs.subsets, runs.train, test))
    found = view.datamodels(top=1)
    assert found.source.output == "correctness"
    assert found.weights["example_id"].tolist() == [0, 1, 2], "the last one is always right: no weight"
    np.testing.assert_allclose(found.weights["weight"], 1, atol=0.1)
    # Ties hold the rank correlation with an output that is 1 in a share p of the runs under sqrt(3 p (1 - p)).
    assert found.scores["lds"][:3].between(0.95 * np.sqrt(3 * 0.75 * 0.25), np.sqrt(3 * 0.5 * 0.5)).all()
    assert np.isnan(found.scores["lds"][3])
    assert found.score.tests == 3
    with pytest.raises(EstimateError, match=r"has no 'margin' of test examples: record.outputs must include it"):
        view.margins()


@pytest.mark.slow
def test_tables_are_written(view: StoreView, tmp_path: Path) -> None:
    found = view.datamodels(method="lasso", top=2)
    path = found.write(view.store)
    assert path == f"{view.store.uri}/estimates/datamodels_lasso.parquet"
    pd.testing.assert_frame_equal(found.weights, pd.read_parquet(path))
    metadata = pq.read_schema(path).metadata
    assert metadata[b"longtail.output"] == b"margin"
    assert metadata[b"longtail.ratios"] == (
        b'{"0.7": {"fitted": 46, "heldout": 12, "seed": 0, "epoch": 1, "diverged": 2, "not_finite": 0, "saturated": 0}}'
    )
    elsewhere = tmp_path / "w.parquet"
    assert found.write(view.store, elsewhere) == str(elsewhere)
    assert elsewhere.read_bytes() == Path(path).read_bytes()
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match="folder"):
        found.write(view.store, tmp_path / "folder")


# Mistakes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "ols"}, "method must be one of ridge, lasso, got 'ols'"),
        ({"top": 0}, "top must be at least 1, got 0"),
        ({"heldout": 0.0}, "heldout must be greater than 0, less than 1, got 0.0"),
        ({"heldout": 1.0}, "heldout must be greater than 0, less than 1, got 1.0"),
        ({"heldout": float("nan")}, "heldout must be greater than 0, less than 1, got nan"),
        ({"heldout": 0.01}, "at ratio 0.7 need at least 5 held-out runs and 10 others, got 1 and 57"),
        ({"heldout": 0.95}, "at ratio 0.7 need at least 5 held-out runs and 10 others, got 55 and 3"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"ratio": 0.5}, "ratio must be one of 0.7, got 0.5"),
        ({"epoch": 7}, "epoch must be one of 1 (those recorded), got 7"),
        ({"tests": [6]}, "tests must be ids from 0 to 5, got 6"),
        ({"tests": [-1]}, "tests must be ids from 0 to 5, got -1"),
        ({"tests": [0.5]}, "tests must be a slice, whole ids, or a mask of length 6, got [0.5]"),
        ({"tests": [True]}, "tests must be a slice, whole ids, or a mask of length 6, got [True]"),
        ({"tests": []}, "tests must select at least one of the store's 6 test examples, got []"),
    ],
)
def test_options_without_sense_are_refused(view: StoreView, options: dict[str, Any], message: str) -> None:
    with pytest.raises(EstimateError, match=re.escape(message)):
        view.datamodels(**options)


def test_subsets_that_never_change_are_refused() -> None:
    random = np.random.default_rng(11)
    subsets, outputs = np.ones((30, 5), bool), random.normal(size=(30, 2))
    with pytest.raises(EstimateError, match="ratio must be under 1"):
        fit_datamodels(source(subsets, outputs, ratio_ppm=1_000_000))
    with pytest.raises(EstimateError, match="all 24 fitted runs at ratio 0.5 have the same subset"):
        fit_datamodels(source(subsets, outputs))


# The command ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_prints_scores_and_writes_weights(view: StoreView, tmp_path: Path) -> None:
    uri = view.store.uri
    done = CliRunner().invoke(app, ["datamodels", uri, "--tests", "0-2,5", "--top", "2"])
    assert done.exit_code == 0
    assert "fitted to 46 runs, scored on 12 (2 diverged, 0 with margins that are not finite)" in done.stdout
    found = view.datamodels(tests=[0, 1, 2, 5], top=2)
    for name, score in (("ridge", found.score), ("influence", found.influence_score)):
        assert re.search(rf"{name} +{score.mean:.4f} +{score.mean_se:.4f} +4", done.stdout)
    written = pd.read_parquet(f"{uri}/estimates/datamodels_ridge.parquet")
    pd.testing.assert_frame_equal(found.weights, written)
    done = CliRunner().invoke(app, ["datamodels", uri, "--method", "lasso", "-o", str(tmp_path / "w.parquet")])
    assert done.exit_code == 0
    assert pd.read_parquet(tmp_path / "w.parquet")["test_example_id"].nunique() == 6
    assert not (Path(uri) / "estimates" / "datamodels_lasso.parquet").exists()


@pytest.mark.parametrize("wrong", ["no/w.parquet", "."])
def test_the_command_looks_at_the_output_before_it_fits(view: StoreView, wrong: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["datamodels", view.store.uri, "-o", str(tmp_path / wrong)])
    assert isinstance(done.exception, CampaignError)
    assert str(tmp_path / wrong) in str(done.exception)


def test_ids_are_parsed() -> None:
    assert parse_ids("0-3, 7,5-5", "tests") == [0, 1, 2, 3, 7, 5]
    for text in ("", "a", "3-1", "1,,2", "-1", "1.5", "0-99999999999", "0-9999999999", "٣"):
        with pytest.raises(CampaignError, match="--tests: must be ids and ranges such as 0-99,105, got "):
            parse_ids(text, "tests")


def test_a_store_without_runs_is_refused(view: StoreView) -> None:
    store = Store.open(view.store.uri)
    for name in store.maintenance.names("results"):
        store.maintenance.set_aside(f"results/{name}")
    with pytest.raises(EstimateError, match="has no committed run"):
        view.datamodels()
