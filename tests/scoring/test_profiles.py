"""Groups of examples: their consistency profiles, learning curves and class summaries, against pandas and loops."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import (
    EstimateError,
    class_summary,
    count_runs,
    group_examples,
    learning_speed,
    open_store,
    plot,
)
from analysis.reading.sequences import At
from analysis.scoring.learning_curves import LEARNING_COLUMNS, SPEED_COLUMNS
from analysis.scoring.profiles import CLASS_COLUMNS, PROFILE_COLUMNS
from analysis.scoring.scores import Source, read_scores
from tests.learning_runs import learning_runs, mean_and_error
from tests.synthetic import Labelled, Runs, make_stores, random_runs
from workers.errors import LongtailError
from workers.store import Store
from workers.store.schema import PRESENTED

N = 30
GIVEN = np.arange(N) % 3


@pytest.fixture(scope="module")
def runs() -> dict[float, Runs]:
    random = np.random.default_rng(1)
    made = {ratio: learning_runs(random, 7, N, 3, ratio, diverged=[1]) for ratio in (0.4, 0.8)}
    for each in made.values():
        each.subsets[:, 4] = True  # never held out
    return made


@pytest.fixture(scope="module")
def store(runs: dict[float, Runs], tmp_path_factory: pytest.TempPathFactory) -> Store:
    labels = Labelled([0] * N, GIVEN.tolist(), [0] * 3)
    return make_stores(tmp_path_factory.mktemp("profiles") / "store", runs, labels)


def test_groups_by_cscore_are_intervals_of_equal_width(store: Store) -> None:
    counts = count_runs(store)
    scores = open_store(store.uri).cscore()["cscore"]
    for number in (1, 2, 5, 30):
        groups = group_examples(store, counts, "cscore", number)
        assert groups.of_example[4] == -1
        for example in set(range(N)) - {4}:
            name = groups.names[groups.of_example[example]]
            low, high = (float(end) for end in name.removeprefix("C-score ").split(" to "))
            assert low - 1e-3 <= scores[example] <= high + 1e-3
            assert high - low == pytest.approx(1 / number, abs=2e-3)
        assert np.unique(groups.of_example).tolist() == [-1, *range(len(groups.names))]


def test_a_score_on_a_border_is_in_the_group_above(tmp_path: Path) -> None:
    """C-scores 0, 1/5, ... 5/5 of five runs that hold out all six examples, but for the last one."""
    train = np.arange(5)[:, None] < np.arange(6)[None]
    subsets = np.zeros((5, 7), dtype=bool)
    subsets[:, 6] = True
    runs = Runs(subsets, np.pad(train, ((0, 0), (0, 1))), np.ones((5, 2), dtype=bool))
    store = make_stores(tmp_path / "store", {0.5: runs})
    groups = group_examples(store, count_runs(store), "cscore", 5)
    assert groups.of_example.tolist() == [0, 1, 2, 3, 4, 4, -1]
    assert groups.names == tuple(f"C-score {k / 5:g} to {(k + 1) / 5:g}" for k in range(5))


@pytest.mark.parametrize("by", ["cscore", "class", "noise"])
def test_profiles_are_those_of_a_group_by(store: Store, by: str) -> None:
    view = open_store(store.uri)
    frame = view.profiles(by=by, groups=3)  # type: ignore[arg-type]
    assert list(frame) == list(PROFILE_COLUMNS)
    groups = group_examples(store, count_runs(store), by, 3)  # type: ignore[arg-type]
    long = view.consistency()
    long["group"] = groups.of_example[long["example_id"]]
    expected = long[long["group"] >= 0].groupby(["group", "ratio"])["consistency"].agg(["count", "mean", "std", "sem"])
    found = frame.set_index(["group", "ratio"])
    examples_se = ((found["se"] ** 2 - found["se_runs"] ** 2) ** 0.5).where(found["examples"] > 1)
    found = found[["examples", "consistency", "sd"]].assign(se=examples_se)
    assert (frame["over"] == "examples and runs").all()
    np.testing.assert_allclose(found.to_numpy(), expected.to_numpy(), atol=1e-12)
    assert found.index.tolist() == expected.index.tolist()
    if by != "cscore":
        assert frame.groupby("ratio")[["examples", "left_out"]].sum().sum(axis=1).tolist() == [N, N]
    if by == "noise":
        assert frame["name"].unique().tolist() == ["clean", "noisy"]
    if by == "class":
        assert frame["name"].unique().tolist() == ["0", "1", "2"]  # the last has no name, only its number


@pytest.mark.parametrize("at", ["presentations", "evaluations", "heldout"])
def test_learning_curves_are_means_over_runs(store: Store, runs: dict[float, Runs], at: str) -> None:
    frame = open_store(store.uri).learning_curves(at=at, by="class")  # type: ignore[arg-type]
    assert list(frame) == list(LEARNING_COLUMNS)
    rows = []
    for ratio, of_ratio in runs.items():
        shown, right = (of_ratio.presented[name] for name in PRESENTED)
        evaluated = [*(train for train, _ in of_ratio.earlier), of_ratio.train]
        for group in range(3):
            for epoch in range(3):
                shares = []
                for k in set(range(7)) - {1}:
                    seen = {
                        "presentations": shown[k, epoch],
                        "evaluations": of_ratio.subsets[k],
                        "heldout": ~of_ratio.subsets[k],
                    }[at]
                    correct = right[k, epoch] if at == "presentations" else evaluated[epoch][k]
                    chosen = correct[seen & (group == GIVEN)]
                    if len(chosen):
                        shares.append(chosen.mean())
                series = pd.Series(shares)
                rows.append((ratio, group, epoch + 1, len(series), series.mean(), series.std(), series.sem()))
    names = ["ratio", "group", "epoch", "runs", "correctness", "sd", "se"]
    expected = pd.DataFrame(rows, columns=names)
    pd.testing.assert_frame_equal(frame[names].reset_index(drop=True), expected, check_dtype=False)
    assert set(frame["at"]) == {at}
    at_one = open_store(store.uri).learning_curves(at=at, by="class", ratio=0.8)  # type: ignore[arg-type]
    assert set(at_one["ratio"]) == {0.8}


@pytest.mark.parametrize("at", ["presentations", "heldout"])
def test_learning_speed_is_that_of_loops_over_runs(store: Store, runs: dict[float, Runs], at: At) -> None:
    groups, level = group_examples(store, count_runs(store), "class"), 0.6
    frame = learning_speed(store, groups, at, 0.4, level=level)
    assert list(frame) == list(SPEED_COLUMNS)
    of_ratio = runs[0.4]
    shown, right = (of_ratio.presented[name] for name in PRESENTED)
    evaluated = [*(train for train, _ in of_ratio.earlier), of_ratio.train]
    for group in range(3):
        epochs, areas, reached = [], [], []
        for k in set(range(7)) - {1}:
            curve = []
            for epoch in range(3):
                seen = shown[k, epoch] if at == "presentations" else ~of_ratio.subsets[k]
                correct = right[k, epoch] if at == "presentations" else evaluated[epoch][k]
                curve.append(correct[seen & (group == GIVEN)].mean())
            there = [epoch for epoch in range(3) if curve[epoch] >= level]
            epochs.append(there[0] + 1 if there else 4)
            reached.append(bool(there))
            areas.append(sum(curve) / 3)
        row = frame.iloc[group]
        expected = [float(len(epochs)), float(np.mean(reached)), *mean_and_error(epochs), *mean_and_error(areas)]
        found = row[["runs", "reached", "epoch", "epoch_se", "area", "area_se"]].to_numpy(dtype=float)
        np.testing.assert_allclose(found, expected, atol=1e-12)
        assert row["epoch_low"] <= row["epoch"] <= row["epoch_high"] and row["area_low"] < row["area_high"]
    with pytest.raises(EstimateError, match="level must be more than 0 and at most 1, got 0"):
        learning_speed(store, groups, level=0)


def test_examples_are_grouped_by_scores_of_another_source(tmp_path: Path, store: Store) -> None:
    """A campaign at ratio 1.0 by the C-score of a store, of published scores and of a table: the same groups."""
    labels = Labelled([0] * N, GIVEN.tolist(), [0] * 3)
    whole = make_stores(tmp_path / "whole", {1.0: learning_runs(np.random.default_rng(2), 4, N, 3, 1.0)}, labels)
    scores = open_store(store.uri).cscore()
    np.savez(tmp_path / "c.npz", labels=scores["label"], scores=scores["cscore"])
    scores.sample(frac=1, random_state=0).to_csv(tmp_path / "c.csv", index=False)
    view, expected = open_store(whole.uri), group_examples(store, count_runs(store), "cscore", 4)
    sources: list[Source] = [store.uri, store, tmp_path / "c.npz", f"{tmp_path}/c.csv:cscore"]
    curves = [view.learning_curves(scores=source, groups=4) for source in sources]
    for curve in curves:
        pd.testing.assert_frame_equal(curve, curves[0])
    assert tuple(curves[0]["name"].unique()) == expected.names
    found = group_examples(whole, count_runs(whole), groups=4, scores=read_scores(sources[3], "cscore"))
    assert (found.by, found.of_example.tolist()) == ("scores", expected.of_example.tolist())
    assert view.learning_speed(scores=store, groups=4)["examples"].sum() == (expected.of_example >= 0).sum()


def test_scores_outside_of_0_to_1_are_grouped_between_their_ends(tmp_path: Path, store: Store) -> None:
    events = pd.DataFrame({"label": np.zeros(N, dtype=int), "events": np.arange(N) / 3.0, "ratio": 1.0})
    events.loc[7, "events"] = np.nan
    pd.concat([events, events.assign(ratio=0.5, events=-1.0)]).to_parquet(tmp_path / "f.parquet")
    scores = read_scores(f"{tmp_path}/f.parquet:events", "forgetting", 1.0)
    groups = group_examples(store, count_runs(store), groups=2, scores=scores)
    assert groups.names == ("events 0 to 4.83", "events 4.83 to 9.67")
    assert groups.of_example.tolist() == [-1 if i == 7 else int(i / 3 >= 29 / 6) for i in range(N)]


def test_other_scores_that_cannot_be_used_are_refused(tmp_path: Path, store: Store) -> None:
    table = pd.DataFrame({"label": np.arange(N) % 2, "s": 0.5, "none": np.nan, "half": 0.5})
    table.to_csv(tmp_path / "t.csv", index=False)
    table.assign(label=0).to_parquet(tmp_path / "same.parquet")
    view = open_store(store.uri)
    for source, message in (
        ("t.csv:s", "is of other examples than .*, or in another order: 15 of 30 labels differ"),
        ("t.csv:score", r"scores.column: .*t.csv: has no column 'score', only label, s, none, half"),
        ("same.parquet:none", "same.parquet:none: has no score to group by"),
        ("u.csv:s", "scores.file: .*u.csv: there is no such file"),
    ):
        with pytest.raises(LongtailError, match=message):
            view.learning_curves(scores=f"{tmp_path}/{source}")
    table.assign(label=0.5).to_csv(tmp_path / "halves.csv", index=False)
    with pytest.raises(LongtailError, match="column label must hold whole numbers, got 0.5"):
        view.profiles(scores=f"{tmp_path}/halves.csv:s")
    with pytest.raises(EstimateError, match="by must be left out with scores, got 'class'"):
        view.profiles(by="class", scores=store)


def test_classes_are_summarized_as_pandas_does(store: Store) -> None:
    view = open_store(store.uri)
    frame = view.class_summary()
    assert list(frame) == list(CLASS_COLUMNS)
    assert frame[["estimate", "ratio"]].drop_duplicates().to_numpy().tolist() == [
        ["cscore", pytest.approx(float("nan"), nan_ok=True)],
        ["mem", 0.4],
        ["mem", 0.8],
    ]
    mem = view.memorization(ratio=0.8, empty="nan")
    expected = mem.groupby("given_label")["mem"].describe()[["count", "mean", "std", "25%", "50%", "75%"]]
    at = frame[frame["ratio"] == 0.8][["examples", "mean", "sd", "low_quartile", "median", "high_quartile"]]
    np.testing.assert_allclose(at.to_numpy(dtype=float), expected.to_numpy(), atol=1e-12)
    assert (frame["over"] == "examples and runs").all()
    assert ((frame["mean_low"] < frame["mean"]) & (frame["mean"] < frame["mean_high"])).all()
    assert frame[frame["ratio"] == 0.8]["left_out"].tolist() == (10 - expected["count"]).tolist()


def test_figures_have_a_line_for_each_group(store: Store) -> None:
    view = open_store(store.uri)
    profiles = plot.profiles(view.profiles(by="class"))
    legend = profiles.get_legend()
    assert legend is not None and [text.get_text() for text in legend.get_texts()] == ["0", "1", "2"]
    curves = [view.learning_curves(at=at, by="class") for at in ("presentations", "heldout")]
    learning = plot.learning(pd.concat(curves))
    assert [axes.get_title() for axes in learning] == ["at presentations", "evaluated, held out"]
    assert learning[0].get_ylabel() == "correct, ratio 0.8"


def test_what_cannot_be_grouped_is_refused(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    bare = make_stores(tmp_path / "bare", {0.5: random_runs(random, 4, 8, 2, 0.5)})
    whole = make_stores(tmp_path / "whole", {1.0: random_runs(random, 4, 8, 2, 1.0)})
    view = open_store(bare.uri)
    for options, message in (
        ({"by": "size"}, "by must be one of cscore, class, noise, got 'size'"),
        ({"by": "noise"}, "bare: has no noisy label"),
        ({"groups": 0}, "groups must be a whole number of 1 to 1000, got 0"),
        ({"groups": True}, "groups must be a whole number of 1 to 1000, got True"),
        ({"groups": 2.0}, r"groups must be a whole number of 1 to 1000, got 2\.0"),
    ):
        with pytest.raises(EstimateError, match=message):
            view.profiles(**options)
    with pytest.raises(EstimateError, match="bare: has no presentations: record.presentations must be true"):
        view.learning_curves()
    with pytest.raises(EstimateError, match="bare: has one evaluation of each run: record.epochs must be all"):
        view.learning_curves(at="heldout")
    with pytest.raises(EstimateError, match="whole: has no C-score to group by: no run held an example out"):
        open_store(whole.uri).profiles()
    with pytest.raises(EstimateError, match="whole: has no consistency profile: no run held an example out"):
        open_store(whole.uri).profiles(by="class")
    with pytest.raises(EstimateError, match="whole: has neither mem nor C-score: no run held an example out"):
        class_summary(whole, count_runs(whole))
