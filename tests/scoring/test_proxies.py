"""Training statistics, every score of the examples side by side, and how proxies rank examples beside the C-score."""

from math import atanh, isnan, sqrt, tanh
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scipy import stats

from analysis import EstimateError, estimate_forgetting, open_store, plot, proxy_agreement, read_example_scores
from analysis.learning.training_statistics import PRESENTED_COLUMNS
from analysis.scoring.example_scores import DENSITIES, NAMES
from orchestrator.cli.commands.noise import suspects
from tests.conftest import small_campaign
from tests.learning_runs import learning_runs, slow_learning_epoch, slow_statistic
from tests.synthetic import Labelled, Runs, make_store, make_stores, random_runs
from workers.errors import DamagedFileError
from workers.store import Store
from workers.store.schema import MAX_FLOAT16
from workers.training.presentations import observe

N = 24
NO_NUMBERS = pd.DataFrame({name: np.arange(N) for name in ("example_id", "label", "given_label")})


@pytest.fixture(scope="module")
def runs() -> dict[float, Runs]:
    random = np.random.default_rng(3)
    return {
        0.5: learning_runs(random, 9, N, 4, 0.5, diverged=[2]),
        0.9: learning_runs(random, 5, N, 4, 0.9),
    }


@pytest.fixture(scope="module")
def store(runs: dict[float, Runs], tmp_path_factory: pytest.TempPathFactory) -> Store:
    given = [1] * 3 + [0] * (N - 3)
    labels = Labelled([0] * N, given, [0] * 3)
    return make_stores(tmp_path_factory.mktemp("proxies") / "store", runs, labels, shard_size=4)


def test_statistics_are_means_over_presentations_and_then_over_runs(store: Store, runs: dict[float, Runs]) -> None:
    frame = open_store(store.uri).training_statistics()
    assert frame["ratio"].tolist() == [0.5] * N + [0.9] * N
    assert frame["given_label"].tolist() == ([1] * 3 + [0] * (N - 3)) * 2
    for row in frame.to_dict("records"):
        for name, column in PRESENTED_COLUMNS.items():
            of_run = np.std if name == "variability" else np.mean
            count, mean, se = slow_statistic(runs[row["ratio"]], column, row["example_id"], of_run)
            assert row["n_runs"] == count
            assert row[name] == pytest.approx(mean, abs=1e-6, nan_ok=True)
            assert row[f"{name}_se"] == pytest.approx(se, abs=1e-6, nan_ok=True)
    pd.testing.assert_frame_equal(
        open_store(store.uri).training_statistics(ratio=0.9), frame[frame["ratio"] == 0.9].reset_index(drop=True)
    )


def test_examples_that_are_never_shown_have_no_statistic(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    of_ratio = learning_runs(random, 3, 6, 2, 0.5)
    for name, values in of_ratio.presented.items():
        values[:, :, 0] = np.nan if name in PRESENTED_COLUMNS.values() else False
    frame = open_store(make_stores(tmp_path / "store", {0.5: of_ratio}).uri).training_statistics()
    assert frame["n_runs"][0] == 0
    assert frame.loc[0, ["probability", "probability_se", "loss", "loss_se"]].isna().all()


def test_losses_beyond_float16_are_lower_bounds_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    of_ratio = learning_runs(np.random.default_rng(4), 3, 6, 2, 0.5)
    losses = of_ratio.presented[PRESENTED_COLUMNS["loss"]]
    losses[:] = np.where(np.isnan(losses), np.nan, 65_472)  # the largest float16 but one
    places = np.argwhere(~np.isnan(losses))[[0, 3, -1]]
    losses[tuple(places.T)] = 65_504
    store = make_stores(tmp_path / "store", {0.5: of_ratio})
    frame = open_store(store.uri).training_statistics()
    np.testing.assert_array_equal(frame["n_saturated"], np.bincount(places[:, 2], minlength=6))
    assert read_example_scores(store).saturated == len(set(places[:, 2].tolist()))
    suspects(store.uri, top=3)
    note = f"the loss of {len(set(places[:, 2].tolist()))} examples is at least what is shown"
    assert note in " ".join(capsys.readouterr().err.split())


def test_what_training_records_of_a_loss_that_float16_cannot_hold() -> None:
    campaign = small_campaign(record={"presentations": True, "probabilities": True})
    logits, labels = torch.tensor([[[0.0, 65_503.0], [0.0, 65_600.0], [0.0, 3e38], [0.0, torch.inf]]]), torch.zeros(4)
    loss = observe(campaign, logits, labels.long()[None])[-1][0]
    assert loss.dtype == torch.float16
    np.testing.assert_array_equal(loss, [65_504, MAX_FLOAT16, MAX_FLOAT16, np.nan])


@pytest.mark.slow
def test_scores_are_those_of_their_own_tables(store: Store, runs: dict[float, Runs]) -> None:
    view, found = open_store(store.uri), read_example_scores(store)
    keys = [(score.name, score.ratio) for score in found.scores]
    assert [name for name, _ in keys] == sorted((name for name, _ in keys), key=NAMES.index)
    expected = {
        "cscore": view.cscore()[["cscore", "se"]].to_numpy().T,
        "loss": view.training_statistics(ratio=0.9)[["loss", "loss_se"]].to_numpy().T,
        "accuracy": estimate_forgetting(store, 0.9)[["accuracy", "accuracy_se"]].to_numpy().T,
        "learning_epoch": np.array([slow_learning_epoch(runs[0.9], i) for i in range(N)]).T,
        "mem": view.memorization(ratio=0.9, empty="nan")[["mem", "se"]].to_numpy().T,
    }
    for name, (values, errors) in expected.items():
        score = found.latest(name)
        assert score is not None and score.se is not None
        np.testing.assert_allclose(score.values, values, atol=1e-9)
        np.testing.assert_allclose(score.se, errors, atol=1e-9)
    assert [score.ratio for score in found.named("forgettability")] == [0.5, 0.9]
    at_one = read_example_scores(store, 0.5)
    assert {score.ratio for score in at_one.scores if score.ratio == score.ratio} == {0.5}


def test_proxies_are_high_for_regular_examples_and_of_the_largest_ratio(store: Store) -> None:
    frame = open_store(store.uri).proxies()
    assert list(frame) == [
        *("example_id", "label", "given_label", "accuracy", "aum", "probability", "negative_variability"),
        *("max_probability", "negative_loss", "negative_forgettability", "negative_learning_epoch"),
    ]
    forgetting = estimate_forgetting(store, 0.9)
    np.testing.assert_allclose(frame["negative_forgettability"], -forgetting["forgettability"], atol=1e-9)
    statistics = open_store(store.uri).training_statistics(ratio=0.9)
    np.testing.assert_allclose(frame["negative_loss"], -statistics["loss"], atol=1e-9)
    assert not frame["accuracy"].equals(open_store(store.uri).proxies(ratio=0.5)["accuracy"])


@pytest.mark.slow
def test_a_ratio_whose_runs_all_diverged_is_passed_over(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    runs = {0.5: learning_runs(random, 3, 8, 2, 0.5), 0.9: learning_runs(random, 2, 8, 2, 0.9, diverged=[0, 1])}
    view = open_store(make_stores(tmp_path / "store", runs).uri)
    pd.testing.assert_frame_equal(view.proxies(), view.proxies(ratio=0.5))
    assert {score.ratio for score in read_example_scores(view.store).scores} >= {0.5}
    assert 0.9 not in {score.ratio for score in read_example_scores(view.store).scores}


@pytest.mark.slow
def test_densities_are_scores_where_they_were_written(tmp_path: Path, runs: dict[float, Runs]) -> None:
    store = make_stores(tmp_path / "store", runs)
    random = np.random.default_rng(6)
    densities = NO_NUMBERS.assign(**{name: random.random(N) for name in DENSITIES})
    densities[[name for name in DENSITIES if name.startswith("hidden")]] = np.nan
    store.write_estimate("density", pa.table({name: densities[name].to_numpy() for name in densities}), {})
    frame = open_store(store.uri).proxies()
    assert list(frame)[-3:] == ["input_density", "input_density_same", "input_density_relative"]
    np.testing.assert_allclose(frame["input_density_same"], densities["input_density_same"], atol=1e-12)
    store.write_estimate("density", pa.table({"example_id": [1, 2]}), {})
    with pytest.raises(DamagedFileError, match=r"estimates/density\.parquet: has unexpected columns"):
        read_example_scores(store)


# Agreement ------------------------------------------------------------------------------------------------------------


def slow_kendall(x: list[float], y: list[float]) -> float:
    """tau-b: concordant less discordant pairs over those that each side does not tie."""
    pairs = [(i, j) for i in range(len(x)) for j in range(i)]
    signs = [(np.sign(x[i] - x[j]), np.sign(y[i] - y[j])) for i, j in pairs]
    untied = sum(a != 0 for a, _ in signs) * sum(b != 0 for _, b in signs)
    return float(sum(a * b for a, b in signs) / sqrt(untied))


def test_correlations_errors_and_limits() -> None:
    random = np.random.default_rng(7)
    cscore = random.integers(0, 8, N) / 8
    cscore[3] = np.nan
    proxy = np.where(np.isnan(cscore), 0.5, cscore) + random.integers(0, 3, N)
    proxy[5] = np.nan
    frame = NO_NUMBERS.assign(proxy=proxy, constant=1.0, same=cscore)
    found = proxy_agreement(frame, cscore).set_index("proxy")
    kept = [i for i in range(N) if i not in (3, 5)]
    x, y = proxy[kept], cscore[kept]
    rows = found.to_dict("index")
    row = rows["proxy"]
    assert (row["examples"], row["left_out"]) == (N - 2, 2)
    rho, tau = row["spearman"], row["kendall"]
    assert rho == pytest.approx(np.corrcoef(stats.rankdata(x), stats.rankdata(y))[0, 1])
    assert tau == pytest.approx(slow_kendall(x.tolist(), y.tolist()))
    for r, error, name in (
        (rho, sqrt((1 + rho**2 / 2) / (N - 5)), "spearman"),
        (tau, sqrt(0.437 / (N - 6)), "kendall"),
    ):
        assert row[f"{name}_se"] == pytest.approx((1 - r**2) * error)
        assert row[f"{name}_low"] == pytest.approx(tanh(atanh(r) - 1.959963984540054 * error))
        assert row[f"{name}_high"] == pytest.approx(tanh(atanh(r) + 1.959963984540054 * error))
    assert found.loc["constant", ["spearman", "spearman_se", "kendall_low"]].isna().all()
    assert rows["same"]["spearman"] == 1
    # On Fisher's scale 1 lies at infinity: limits of 1 and 1 would be certainty.
    assert found.loc["same", ["spearman_se", "spearman_low", "spearman_high", "kendall_low"]].isna().all()
    few = proxy_agreement(frame.head(3), cscore[:3]).set_index("proxy").to_dict("index")["proxy"]
    assert not isnan(few["spearman"]) and isnan(few["spearman_se"]) and isnan(few["kendall_high"])


@pytest.mark.slow
def test_the_error_of_spearman_is_that_of_many_draws() -> None:
    random = np.random.default_rng(8)
    draws = []
    for _ in range(400):
        x = random.normal(size=200)
        frame = pd.DataFrame({"example_id": range(200), "proxy": x})
        draws.append(proxy_agreement(frame, x + random.normal(size=200)).iloc[0])
    found = pd.DataFrame(draws)
    for name in ("spearman", "kendall"):
        assert found[name].astype(float).std() == pytest.approx(found[f"{name}_se"].mean(), rel=0.12)


@pytest.mark.slow
def test_the_cscore_may_be_of_other_runs_or_of_a_file(store: Store, tmp_path: Path) -> None:
    view = open_store(store.uri)
    own = view.proxy_agreement()
    cscore = view.cscore()["cscore"].to_numpy()
    alone = proxy_agreement(view.proxies(), cscore)
    same = ["proxy", "examples", "left_out", "spearman", "kendall"]
    pd.testing.assert_frame_equal(own[same], alone[same])
    assert set(own["over"]) == {"examples and runs"} and set(alone["over"]) == {"examples only"}
    for name in ("spearman", "kendall"):
        both = np.hypot(alone[f"{name}_se"], own[f"{name}_se_runs"])
        np.testing.assert_allclose(own[f"{name}_se"], both, rtol=1e-9)
    np.savez(tmp_path / "scores.npz", labels=np.zeros(N, dtype=int), scores=np.nan_to_num(cscore))
    published = view.proxy_agreement(cscore=tmp_path / "scores.npz")
    assert published["examples"].max() == N
    assert set(published["over"]) == {"examples only"}  # a file tells nothing of its runs
    np.savez(tmp_path / "others.npz", labels=np.ones(N, dtype=int), scores=cscore)
    with pytest.raises(EstimateError, match="24 of 24 labels differ"):
        view.proxy_agreement(cscore=tmp_path / "others.npz")
    assert len(plot.proxies(own).get_yticklabels()) == len(own)


def test_what_is_not_recorded_is_told_in_one_line(tmp_path: Path) -> None:
    random = np.random.default_rng(9)
    bare = make_stores(tmp_path / "bare", {0.5: random_runs(random, 4, 8, 2, 0.5)})
    with pytest.raises(EstimateError, match="bare: has no proxies: record.presentations or record.training_statistics"):
        open_store(bare.uri).proxies()
    with pytest.raises(EstimateError, match="bare: has no training statistics: record.training_statistics, rec"):
        open_store(bare.uri).training_statistics()
    whole = make_stores(tmp_path / "whole", {1.0: learning_runs(random, 3, 8, 2, 1.0)})
    with pytest.raises(EstimateError, match="whole: has no C-score, at ratio 1 no example is held out"):
        open_store(whole.uri).proxy_agreement()
    assert {"mem", "cscore"}.isdisjoint(score.name for score in read_example_scores(whole).scores)
    lost = make_store(tmp_path / "lost", *(np.ones((2, 5), dtype=bool),) * 3, diverged=[0, 1])
    with pytest.raises(EstimateError, match="lost: has no run to estimate from, all committed runs diverged"):
        open_store(lost.uri).proxies()
    for confidence in (0, 1, "high"):
        with pytest.raises(EstimateError, match="confidence must be greater than 0 and less than 1"):
            open_store(whole.uri).proxy_agreement(confidence=confidence)  # type: ignore[arg-type]
