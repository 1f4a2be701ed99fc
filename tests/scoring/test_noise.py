"""Noisy labels: how well scores find them, and the suspects where nobody knows."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from analysis import EstimateError, noise_curves, noise_detection, open_store, plot, read_example_scores
from analysis.reading.examples import Labels
from analysis.scoring.example_scores import ExampleScore, StoreScores
from analysis.scoring.noise import COLUMNS, CURVE_COLUMNS
from tests.learning_runs import learning_runs
from tests.synthetic import Labelled, make_stores, random_runs
from workers.store import Store

N = 30
NOISY = np.arange(N) % 5 == 0


def scores_of(store: Store, *scores: ExampleScore, noisy: np.ndarray = NOISY) -> StoreScores:
    """Made-up scores beside a store's sums."""
    label = np.zeros(N, dtype=np.int64)
    labels = Labels(label, noisy.astype(np.int64), np.zeros(0, dtype=np.int64))
    return StoreScores("made up", labels, read_example_scores(store).counts, scores)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Random runs of 30 examples, every fifth with a label that is not its own."""
    random = np.random.default_rng(1)
    runs = {ratio: learning_runs(random, 6, N, 3, ratio) for ratio in (0.4, 0.8)}
    runs[0.8].subsets[:, 7] = True  # never held out there
    labels = Labelled([0] * N, NOISY.astype(int).tolist(), [0] * 3)
    return make_stores(tmp_path_factory.mktemp("noise") / "store", runs, labels)


@pytest.mark.slow
def test_every_score_is_measured_at_each_ratio(store: Store) -> None:
    frame = open_store(store.uri).noise()
    assert list(frame) == list(COLUMNS)
    per_ratio = ["mem", "accuracy", "aum", "probability", "variability", "max_probability", "loss"]
    per_ratio += ["forgettability", "learning_epoch"]
    assert frame.groupby("score")["ratio"].apply(list).to_dict() == {
        **{name: [0.4, 0.8] for name in per_ratio},
        "cscore": [pytest.approx(float("nan"), nan_ok=True)],
    }
    found = read_example_scores(store)
    for row, score in zip(frame.to_dict("records"), found.scores, strict=True):
        some = np.isfinite(score.values)
        high = score.name in ("mem", "loss", "variability", "forgettability", "learning_epoch")
        values = score.values[some] * (1 if high else -1)
        assert (row["examples"], row["left_out"], row["noisy"]) == (some.sum(), (~some).sum(), NOISY[some].sum())
        assert row["auc"] == pytest.approx(roc_auc_score(NOISY[some], values.round(12)))
        assert row["average_precision"] == pytest.approx(average_precision_score(NOISY[some], values.round(12)))
        assert 0 <= row["low"] <= row["auc"] <= row["high"] <= 1
        assert row["over"] == "examples and runs" and row["auc_se"] > row["auc_se_runs"] > 0
    lacking = frame[(frame["score"] == "mem") & (frame["ratio"] == 0.8)].iloc[0]
    assert lacking["left_out"] >= 1
    assert set(open_store(store.uri).noise(ratio=0.4)["ratio"].dropna()) == {0.4}


def test_orientation_and_the_share_found(store: Store) -> None:
    """A perfect score finds all, in whichever direction it points; equal values find what chance finds."""
    perfect = NOISY.astype(float)
    found = noise_detection(
        scores_of(
            store,
            ExampleScore("mem", 0.7, perfect),
            ExampleScore("cscore", np.nan, 1 - perfect),
            ExampleScore("loss", 0.7, -perfect),
            ExampleScore("accuracy", 0.7, np.full(N, 1 - 2 / 3)),
            ExampleScore("accuracy", 0.8, np.where(NOISY, 1 / 3, 1 - 2 / 3)),
        )
    )
    assert found["auc"].tolist() == [1, 1, 0, 0.5, 0.5]
    assert found["precision_at_noisy"].tolist() == pytest.approx([1, 1, 0, 0.2, 0.2])
    assert found["average_precision"][0] == 1
    assert (found["auc_se"] == 0).all()
    assert 0.5 < found["low"][0] < found["high"][0] == 1


def test_all_noisy_and_scores_without_noisy_values(store: Store) -> None:
    score = ExampleScore("mem", 0.7, np.arange(N) / N)
    everything = noise_detection(scores_of(store, score, noisy=np.ones(N, dtype=bool))).iloc[0]
    assert everything[["auc", "auc_se"]].isna().all()
    assert everything[["noisy", "low", "high", "average_precision", "precision_at_noisy"]].tolist() == [N, 0, 1, 1, 1]
    unknown = ExampleScore("mem", 0.7, np.where(NOISY, np.nan, 0.5))
    nothing = noise_detection(scores_of(store, unknown)).iloc[0]
    assert nothing[["noisy", "left_out", "low", "high"]].tolist() == [0, NOISY.sum(), 0, 1]
    assert nothing[["auc", "average_precision", "precision_at_noisy"]].isna().all()
    assert len(noise_curves(scores_of(store, unknown))) == 0
    assert list(noise_curves(scores_of(store))) == list(CURVE_COLUMNS)


@pytest.mark.slow
def test_curves_carry_the_scores_own_thresholds(store: Store) -> None:
    cscore = np.linspace(0, 1, N)
    found = scores_of(store, ExampleScore("cscore", np.nan, cscore), ExampleScore("mem", 0.7, 1 - cscore))
    curves = noise_curves(found)
    for row in curves.to_dict("records"):
        chosen = (
            cscore <= row["threshold"] + 1e-12 if row["score"] == "cscore" else 1 - cscore >= row["threshold"] - 1e-12
        )
        assert row["selected"] == chosen.sum()
        assert row["precision"] == pytest.approx(NOISY[chosen].mean())
    assert curves[curves["score"] == "mem"]["ratio"].eq(0.7).all()
    pd.testing.assert_frame_equal(
        open_store(store.uri).noise_curves(), noise_curves(read_example_scores(store)), check_exact=True
    )
    _, precision = plot.noise(noise_detection(found), curves)
    assert [text.get_text().split(":")[0] for text in precision.get_legend().get_texts()] == [
        *("cscore", "mem at 0.7", "by chance"),
    ]


def test_without_noise_there_is_nothing_to_measure(tmp_path: Path) -> None:
    store = make_stores(tmp_path / "clean", {0.5: random_runs(np.random.default_rng(2), 4, 8, 2, 0.5)})
    for method in ("noise", "noise_curves"):
        with pytest.raises(EstimateError, match="clean: has no noisy label, .* longtail suspects lists the labels"):
            getattr(open_store(store.uri), method)()


# Suspects -------------------------------------------------------------------------------------------------------------


def test_suspects_are_ranked_by_the_best_score_there_is(store: Store, tmp_path: Path) -> None:
    view = open_store(store.uri)
    frame = view.suspects()
    cscore = view.cscore().set_index("example_id")
    assert list(frame)[:8] == ["rank", "example_id", "label", "given_label", "mem", "mem_se", "cscore", "cscore_se"]
    assert frame["loss"].is_monotonic_decreasing
    assert frame["rank"].tolist() == frame["loss"].rank(method="min", ascending=False).astype(int).tolist()
    np.testing.assert_allclose(frame["cscore_se"], cscore.loc[frame["example_id"], "se"])
    bare = make_stores(tmp_path / "bare", {0.5: random_runs(np.random.default_rng(3), 4, 20, 2, 0.5)})
    frame = open_store(bare.uri).suspects()
    assert frame["cscore"].is_monotonic_increasing
    tied = frame.groupby("rank")["mem"].apply(lambda values: values.dropna().is_monotonic_decreasing)
    assert frame["rank"].duplicated().any() and tied.all()


@pytest.mark.parametrize(("by", "highest_first"), [("mem", True), ("loss", True), ("accuracy", False)])
def test_suspects_by_another_score(store: Store, by: str, highest_first: bool) -> None:
    frame = open_store(store.uri).suspects(by=by)
    values = frame[by].round(12)
    assert values.is_monotonic_decreasing if highest_first else values.is_monotonic_increasing
    assert frame[by].notna().all()
    expected = read_example_scores(store, 0.8).latest(by)
    assert expected is not None
    assert len(frame) == np.isfinite(expected.values).sum()  # without those that have no value, such as example 7
    np.testing.assert_allclose(frame[by], expected.values[frame["example_id"]])
    at = open_store(store.uri).suspects(by=by, ratio=0.4)
    assert not np.allclose(at.sort_values("example_id")[by].mean(), frame[by].mean())


def test_scores_that_a_store_lacks_are_refused(store: Store, tmp_path: Path) -> None:
    bare = open_store(make_stores(tmp_path / "bare", {0.5: random_runs(np.random.default_rng(4), 4, 8, 2, 0.5)}).uri)
    with pytest.raises(EstimateError, match=r"bare: by must be one of cscore, mem \(those it has\), got 'loss'"):
        bare.suspects(by="loss")
    with pytest.raises(EstimateError, match=r"by must be one of mem, cscore, .*, got 'memory'"):
        bare.suspects(by="memory")
    whole = make_stores(tmp_path / "whole", {1.0: random_runs(np.random.default_rng(5), 4, 8, 2, 1.0)})
    with pytest.raises(EstimateError, match="whole: has no score of its examples: all ratios are 1"):
        open_store(whole.uri).suspects()
    with pytest.raises(EstimateError, match=r"ratio must be one of 0\.5, got 0\.3"):
        bare.suspects(ratio=0.3)
