"""What probes measured, as frames, tables and figures: against the runs' own rows and sums by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import longtail
from analysis.estimators.localization.over_runs import mean_over_runs
from analysis.estimators.localization.summary import localize
from analysis.estimators.localization.units import units_detection, units_summary
from analysis.view import StoreView
from orchestrator import run_campaign
from tests.command import call
from tests.conftest import small_campaign
from workers.errors import EstimateError
from workers.store import Store

RUNS = 3
FIGURES = ["sampled", "n", "median", "under_10", "censored"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three measured runs and one that is not, of a small network on digits with noisy labels."""
    folder = tmp_path_factory.mktemp("localization") / "s"
    planned = small_campaign(
        model={"name": "mlp", "hidden": [16]},
        recipe={"epochs": 4, "batch_size": 64},
        label_noise={"fraction": 0.1},
        subsets={"ratios": [0.5], "repetitions": RUNS + 1, "seed": 5},
        record={"probes": {"gradients": True, "rewinding": {"every": 2}}},
    )
    run_campaign(planned, str(folder))
    return folder


@pytest.fixture(scope="module")
def view(store: Path) -> StoreView:
    """The same, as frames."""
    return longtail.open_store(store)


def rows_of(store: Path, column: str) -> np.ndarray:
    opened = Store.open(str(store))
    return np.concatenate([opened.vectors(shard, table, column) for shard, table in opened.scan([column])])


def test_norms_and_cosines_are_those_of_the_sums(store: Path, view: StoreView) -> None:
    frame = view.probe("gradients")
    assert len(frame) == RUNS * 4 * 2
    sums = rows_of(store, "probe_gradients")[1, 2].astype(float)  # run 1, epoch 3
    weight, bias = sums[0], sums[1]
    row = frame[(frame["repetition"] == 1) & (frame["epoch"] == 3) & (frame["layer"] == "hidden1")].iloc[0]
    roots = (64 * 16) ** 0.5, 16**0.5
    assert row["norm_clean"] == pytest.approx(weight[0] ** 0.5 / roots[0] + bias[0] ** 0.5 / roots[1])
    assert row["norm_noisy"] == pytest.approx(weight[1] ** 0.5 / roots[0] + bias[1] ** 0.5 / roots[1])
    cosines = [each[2] / (each[0] * each[1]) ** 0.5 for each in (weight, bias)]
    assert row["cosine"] == pytest.approx(np.mean(cosines))
    joined = weight + bias
    assert row["flat_cosine"] == pytest.approx(joined[2] / (joined[0] * joined[1]) ** 0.5)
    assert row["norm_ratio"] == pytest.approx(row["norm_noisy"] / row["norm_clean"])


def test_rewinding_to_the_last_epoch_is_the_run_itself(store: Path, view: StoreView) -> None:
    """Counts and sizes of groups are those of the run's own correctness, recorded beside."""
    opened = Store.open(str(store))
    examples = opened.examples(["split", "label", "given_label"]).to_pandas()
    train = examples[examples["split"] == "train"]
    noisy = (train["label"] != train["given_label"]).to_numpy()
    frame = view.probe("rewinding")
    assert frame["epoch"].unique().tolist() == [0, 2, 4]
    names = ("subset", "train_correct", "test_correct")
    subset, train_correct, test_correct = (rows_of(store, name).reshape(RUNS + 1, -1) for name in names)
    for repetition in range(RUNS):
        inside, right = subset[repetition], train_correct[repetition]
        members = {"clean": inside & ~noisy, "noisy": inside & noisy, "heldout": ~inside}
        last = frame[(frame["repetition"] == repetition) & (frame["epoch"] == 4)]
        for group, chosen in members.items():
            rows = last[last["group"] == group]
            assert (rows["right"] == right[chosen].sum()).all()
            assert (rows["n"] == chosen.sum()).all()
        assert (last[last["group"] == "test"]["accuracy"] == test_correct[repetition].mean()).all()
    assert (frame[(frame["epoch"] == 0) & (frame["group"] == "clean")]["accuracy"] < 0.9).any()


def test_means_have_the_error_over_runs(view: StoreView) -> None:
    summary = localize(view.store)
    frame = view.probe("rewinding")
    chosen = (frame["layer"] == "head") & (frame["epoch"] == 0) & (frame["group"] == "noisy")
    values = frame[chosen & (frame["rule"] == "buffers")]["accuracy"]
    table = summary.tables["rewinding"]
    rows = table[(table["layer"] == "head") & (table["epoch"] == 0) & (table["group"] == "noisy")]
    row = rows[rows["rule"] == "buffers"].iloc[0]
    assert row["accuracy"] == pytest.approx(values.mean())
    assert row["accuracy_se"] == pytest.approx(values.std(ddof=1) / RUNS**0.5)
    assert row["runs"] == RUNS
    assert summary.runs == {0.5: RUNS}


def test_a_single_run_has_no_error() -> None:
    frame = pd.DataFrame({"run_id": ["a", "a"], "layer": ["1", "2"], "value": [1.0, np.nan]})
    means = mean_over_runs(frame, ["layer"], ["value"])
    assert means["runs"].tolist() == [1, 1]
    assert means["value"].isna().tolist() == [False, True]
    assert means["value_se"].isna().all()


def test_units_are_summarized_with_censored_ones_last() -> None:
    """Seven noisy examples, one not predicted, that need few units; four clean ones of which two were not flipped."""
    noisy = [True] * 7 + [False] * 4
    needed = [0, 1, 2, 3, 3, 9, 10, 8, 12, 30, 30]
    units = pd.DataFrame(
        {
            "run_id": "r",
            "ratio": 1.0,
            "repetition": 0,
            "group": ["noisy" if each else "clean" for each in noisy],
            "units": needed,
            "censored": [False] * 9 + [True] * 2,
            "layers": 2,
            "accuracy_test": 0.5,
        }
    )
    summary = units_summary(units).set_index("group")
    assert list(summary[FIGURES].loc["noisy"]) == [7, 6, 3, 5 / 6, 0]
    assert list(summary[FIGURES].loc["clean"]) == [4, 4, np.inf, 1 / 4, 0.5]
    pairs = [a < b for a in needed[:7] for b in [8, 12, 31, 31]]
    assert units_detection(units)["auc"].item() == pytest.approx(np.mean(pairs))


@pytest.mark.slow
def test_the_command_prints_writes_and_draws(store: Path, tmp_path: Path) -> None:
    words = ("-o", tmp_path / "t.csv", "--plot", tmp_path / "t.png", "--rule", "parameters")
    code, output, _ = call("localize", store, *words)
    assert code == 0
    assert "accuracy on noisy examples with one layer rewound to an epoch (parameters)" in output
    assert "means over 3 measured runs at ratio 0.5" in output
    assert len(pd.read_csv(tmp_path / "t-rewinding.csv")) == 2 * 3 * 3 * 4
    assert set(pd.read_csv(tmp_path / "t-gradients.csv")["layer"]) == {"hidden1", "head"}
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")


MISTAKES = [
    (("--scores", "none.npz", "--estimate", "cscore"), "none.npz"),
    (("--rule", "none"), "--rule must be one of parameters, buffers, reestimated"),
    (("--ratio", "0.3"), "ratio must be one of 0.5, got 0.3"),
]


@pytest.mark.parametrize(("words", "reason"), MISTAKES)
def test_mistakes_in_the_command(words: tuple[str, ...], reason: str, store: Path) -> None:
    code, _, told = call("localize", store, *words)
    assert code == 2
    assert reason in " ".join(told.split())


def test_a_store_without_probes(tmp_path: Path) -> None:
    planned = small_campaign(subsets={"ratios": [0.2], "repetitions": 1, "seed": 5})
    run_campaign(planned, str(tmp_path / "s"))
    code, _, told = call("localize", tmp_path / "s")
    assert code != 0
    assert "has no probes: record.probes of the campaign must declare some" in " ".join(told.split())
    with pytest.raises(EstimateError, match="has no probe 'rewinding'; it has none"):
        longtail.open_store(tmp_path / "s").probe("rewinding")


def test_another_probe_is_refused_with_those_that_are_there(view: StoreView) -> None:
    with pytest.raises(EstimateError, match="has no probe 'neurons'; it has gradients, rewinding"):
        view.probe("neurons")


@pytest.mark.slow
def test_examples_lost_by_dropping_are_counted_over_the_runs(tmp_path: Path) -> None:
    """Against the runs' own correctness, recorded with memorization channels dropped, and the probe's before."""
    planned = small_campaign(
        model={"name": "mlp", "hidden": [32], "stage_dropout": {"name": "example-tied"}},
        recipe={"epochs": 15, "batch_size": 64, "optimizer": {"name": "sgd", "learning_rate": 0.2}},
        label_noise={"fraction": 0.1},
        subsets={"ratios": [0.5], "repetitions": 2, "seed": 5},
        record={"probes": {"dropout": True}},
    )
    run_campaign(planned, str(tmp_path / "s"))
    frame = localize(Store.open(str(tmp_path / "s"))).tables["dropped"].set_index("example_id").sort_index()
    subset, after = (rows_of(tmp_path / "s", name).reshape(2, -1) for name in ("subset", "train_correct"))
    own = rows_of(tmp_path / "s", "probe_dropout_correct").reshape(2, 2, -1)[:, 1]
    assert (frame["runs"] == subset.sum(axis=0)).all()
    twice = np.flatnonzero(subset.all(axis=0))
    np.testing.assert_allclose(frame["lost"][twice], (own & ~after)[:, twice].mean(axis=0))
    assert frame["lost"].max() > 0
    assert np.isnan(frame["lost"].to_numpy()[~subset.any(axis=0)]).all()
    noisy = (frame["group"] == "noisy").to_numpy()
    lost = frame["lost"].to_numpy()
    scores = tmp_path / "scores.npz"
    np.savez(scores, labels=frame["label"].to_numpy(), scores=np.where(np.isnan(lost), 0.5, lost) ** 3)
    words = ("--plot", tmp_path / "t.png", "--scores", scores, "--estimate", "memorization", "-o", tmp_path / "t.csv")
    code, output, _ = call("localize", tmp_path / "s", *words)
    assert code == 0
    assert "lost when memorization units are dropped" in output
    table = pd.read_csv(tmp_path / "t-scores.csv").set_index("group")
    trained = np.isfinite(lost)
    assert table["examples"].to_dict() == {
        "clean": (trained & ~noisy).sum(),
        "noisy": (trained & noisy).sum(),
        "all": trained.sum(),
    }
    assert (table["spearman"] == 1).all()  # a monotone function of what is lost

    np.savez(scores, labels=frame["label"].to_numpy(), scores=np.arange(len(lost), dtype=float) % 7)
    assert call("localize", tmp_path / "s", *words)[0] == 0
    row = pd.read_csv(tmp_path / "t-scores.csv").set_index("group").loc["clean"]
    chosen = trained & ~noisy
    expected = stats.spearmanr(lost[chosen], (np.arange(len(lost)) % 7)[chosen]).statistic
    assert row["spearman"] == pytest.approx(expected)
    assert row["low"] < row["spearman"] < row["high"]
    assert row["over"] == "examples and runs of a"

    np.savez(scores, labels=frame["label"].to_numpy()[::-1], scores=lost)
    code, _, told = call("localize", tmp_path / "s", *words)
    assert code == 2
    assert "labels differ" in " ".join(told.split())
    np.savez(scores, labels=frame["label"].to_numpy(), scores=np.full(len(lost), np.nan))
    code, _, told = call("localize", tmp_path / "s", *words)
    assert code == 2
    assert "has no score of an example that the probes" in " ".join(told.split())
    code, _, told = call("localize", tmp_path / "s", "--scores", scores)
    assert code == 2
    assert "estimate must be given with a score file" in told


@pytest.mark.slow
def test_of_several_ratios_one_must_be_named(tmp_path: Path) -> None:
    planned = small_campaign(
        recipe={"epochs": 2, "batch_size": 256},
        label_noise={"fraction": 0.1},
        subsets={"ratios": [0.5, 1.0], "repetitions": 2, "seed": 5},
        record={"probes": {"gradients": True, "rewinding": {}}},
    )
    run_campaign(planned, str(tmp_path / "s"))
    code, output, _ = call("localize", tmp_path / "s", "--plot", tmp_path / "t.png")
    assert code == 0
    assert "means over 2 measured runs at ratio 1," in output
    assert set(longtail.open_store(tmp_path / "s").probe("rewinding")["ratio"]) == {0.5, 1.0}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--estimate", "cscore"], "--estimate: must be left out without --scores, got cscore"),
        (["--scores-ratio", "0.5"], "--scores-ratio: must be left out without --scores, got 0.5"),
        (["--scores", "a.npz", "--scores-ratio", "0.5"], "--scores-ratio: must be left out with a file, which has"),
        (
            ["--scores", "s3://b/a.npz"],
            "--scores: must be a store, or an .npz file on this machine, got 's3://b/a.npz'",
        ),
    ],
)
def test_options_of_scores_that_would_do_nothing(words: list[str], message: str) -> None:
    code, _, said = call("localize", "store", *words)
    assert (code, len(said.splitlines())) == (2, 1) and message in said
