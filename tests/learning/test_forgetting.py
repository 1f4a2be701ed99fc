"""Forgetting: against a loop over a string of presentations, and from a campaign to its tables and figure."""

import json
from math import nan, sqrt
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.patches import StepPatch

from analysis import (
    EstimateError,
    estimate_forgetting,
    forgetting_agreement,
    forgetting_summary,
    open_store,
    plot,
    write_estimates,
)
from analysis.learning.forgetting import COLUMNS, count_forgetting
from orchestrator import run_campaign
from tests.command import call
from tests.conftest import small_campaign
from tests.synthetic import Labelled, Runs, make_store, make_stores, random_runs
from workers.campaign.yaml_io import dump_campaign
from workers.store import Store

# Sequences are strings: right 1, wrong 0, not shown -. One string for each example and run.


def slow_run(shown: str) -> dict[str, float]:
    """Of one example in one run, letter after letter."""
    events, first, last, right, presentations = 0, 0, "", 0, 0
    for epoch, letter in enumerate(shown, start=1):
        if letter == "-":
            continue
        presentations += 1
        if last == "1" and letter == "0":
            events += 1
        if letter == "1":
            right += 1
            first = first or epoch
        last = letter
    return {"events": events, "first": first, "right": right, "presentations": presentations}


def slow_mean(values: list[float]) -> tuple[float, float]:
    """(mean, standard error)."""
    n = len(values)
    mean = sum(values) / n if n else nan
    return mean, sqrt(sum((value - mean) ** 2 for value in values) / (n - 1) / n) if n > 1 else nan


def slow_row(sequences: list[str]) -> dict[str, Any]:
    """Of one example: a string for each run."""
    epochs = max(map(len, sequences))
    runs = [run for run in map(slow_run, sequences) if run["presentations"]]
    learned = [run for run in runs if run["first"]]
    forgetting, forgetting_se = slow_mean([run["events"] for run in runs])
    first, first_se = slow_mean([run["first"] for run in learned])
    accuracy, accuracy_se = slow_mean([run["right"] / run["presentations"] for run in runs])
    return {
        "n_runs": len(runs),
        "forgetting": forgetting,
        "forgetting_se": forgetting_se,
        "forgetting_total": sum(int(run["events"]) for run in runs),
        "n_learned": len(learned),
        "first_learned": first,
        "first_learned_se": first_se,
        "accuracy": accuracy,
        "accuracy_se": accuracy_se,
        "n_unforgettable": len([run for run in learned if not run["events"]]),
        "unforgettable": bool(runs) and all(run["first"] and not run["events"] for run in runs),
        "never_learned": bool(runs) and not learned,
        "never_presented": not runs,
        "forgettability": slow_mean([run["events"] if run["first"] else epochs for run in runs])[0],
    }


def presented(sequences: list[list[str]]) -> dict[str, np.ndarray]:
    """The columns that hold them, bool[K, E, N], of strings by run and example."""
    letters = np.array([[list(shown) for shown in run] for run in sequences]).transpose(0, 2, 1)
    return {"presented": letters != "-", "presented_correct": letters == "1"}


def runs_of(sequences: list[list[str]], *, row_per_epoch: bool = False, **more: Any) -> Runs:
    """The runs that were shown this; all epochs in a run's one row, or a row for each."""
    shape = (len(sequences), len(sequences[0]))
    nothing = np.zeros(shape, bool), np.zeros((shape[0], 1), bool)
    earlier = [nothing] * (len(sequences[0][0]) - 1) if row_per_epoch else []
    return Runs(np.ones(shape, bool), *nothing, earlier=earlier, presented=presented(sequences), **more)


@st.composite
def campaigns(draw: st.DrawFn) -> list[list[str]]:
    """1 to 5 runs, 1 to 6 examples, 1 to 7 epochs; some examples are never shown, or never right."""
    epochs, examples = draw(st.integers(1, 7)), draw(st.integers(1, 6))
    alphabets = draw(st.lists(st.sampled_from(["01", "01-", "0-", "-", "1"]), min_size=examples, max_size=examples))
    run = st.tuples(*(st.text(letters, min_size=epochs, max_size=epochs) for letters in alphabets))
    return [list(each) for each in draw(st.lists(run, min_size=1, max_size=5))]


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(campaigns())
def test_every_column_equals_a_loop_over_presentations(sequences: list[list[str]]) -> None:
    with TemporaryDirectory() as folder:
        store = make_stores(Path(folder, "store"), {1.0: runs_of(sequences)}, shard_size=2)
        found = estimate_forgetting(store)
        by_epoch = make_stores(Path(folder, "by-epoch"), {1.0: runs_of(sequences, row_per_epoch=True)})
        pd.testing.assert_frame_equal(found, estimate_forgetting(by_epoch), check_exact=True)
    assert list(found) == list(COLUMNS)
    expected = pd.DataFrame([slow_row([run[i] for run in sequences]) for i in range(len(sequences[0]))])
    pd.testing.assert_frame_equal(found[list(expected)], expected, rtol=1e-12)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(campaigns())
def test_one_runs_counts_and_its_ranking(sequences: list[list[str]]) -> None:
    run = sequences[0]
    seen, correct = (each[0] for each in presented([run]).values())
    epochs = 10 * np.arange(1, len(run[0]) + 1)
    found = count_forgetting(seen, correct | ~seen, epochs)  # whatever is said of what was not shown
    for i, shown in enumerate(run):
        expected = slow_run(shown)
        assert found.events[i] == expected["events"]
        assert found.first_learned[i] == 10 * expected["first"]
        assert found.presentations[i] == expected["presentations"]
        assert found.correct[i] == expected["right"]
        assert (found.presented[i], found.learned[i]) == (set(shown) != {"-"}, "1" in shown)
    never = found.presented & ~found.learned
    if never.any() and found.learned.any():
        assert found.forgettability[never].min() > found.forgettability[found.learned].max()


def test_a_gap_is_neither_an_event_nor_a_bridge_over_one(tmp_path: Path) -> None:
    sequences = [["1-0-1", "11-11", "0-0-0", "-----", "-0101"]]
    frame = estimate_forgetting(make_stores(tmp_path / "s", {1.0: runs_of(sequences)}))
    assert frame["forgetting_total"].tolist() == [1, 0, 0, 0, 1]
    np.testing.assert_array_equal(frame["first_learned"], [1, 1, nan, nan, 3])
    assert frame["unforgettable"].tolist() == [False, True, False, False, False]
    assert frame["never_learned"].tolist() == [False, False, True, False, False]
    assert frame["never_presented"].tolist() == [False, False, False, True, False]
    np.testing.assert_array_equal(frame["forgettability"], [1, 0, 5, nan, 1])
    np.testing.assert_array_equal(frame["accuracy"], [2 / 3, 1, 0, nan, 1 / 2])
    assert frame[["forgetting_se", "first_learned_se", "accuracy_se"]].isna().all(axis=None)


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(campaigns())
def test_runs_that_agree_leave_an_interval_all_the_same(sequences: list[list[str]]) -> None:
    with TemporaryDirectory() as folder:
        frame = estimate_forgetting(make_stores(Path(folder, "store"), {1.0: runs_of(sequences)}))
    epochs = len(sequences[0][0])
    for name, runs, most in (
        ("forgetting", "n_runs", np.inf),
        ("first_learned", "n_learned", epochs),
        ("accuracy", "n_runs", 1),
    ):
        some = frame[frame[runs] > 0]
        assert frame.loc[frame[runs] == 0, [f"{name}_low", f"{name}_high"]].isna().all(axis=None)
        low, value, high = (some[f"{name}{part}"].to_numpy() for part in ("_low", "", "_high"))
        assert (low <= value + 1e-12).all() and (value <= high + 1e-12).all() and (high <= most).all()
        if most > 1 or name == "accuracy":
            assert (high > low).all()


# Stores -------------------------------------------------------------------------------------------------------------

THREE = [["1010", "1111", "0000"], ["0011", "0111", "0000"], ["1100", "1110", "0001"]]


def test_ratios_labels_and_diverged_runs(tmp_path: Path) -> None:
    labels = Labelled([0, 1, 2], [0, 1, 1])
    runs = {0.5: runs_of(THREE, diverged=[2]), 0.7: runs_of(THREE, diverged=[0, 1, 2]), 1.0: runs_of(THREE)}
    view = open_store(make_stores(tmp_path / "s", runs, labels, shard_size=2).uri)
    frame = view.forgetting()
    assert frame["ratio"].tolist() == [0.5] * 3 + [1.0] * 3
    assert frame["example_id"].tolist() == [0, 1, 2] * 2
    assert frame["given_label"].tolist() == [0, 1, 1] * 2
    assert frame["n_runs"].tolist() == [2] * 3 + [3] * 3
    assert frame["forgetting_total"].tolist() == [2, 0, 0, 3, 1, 0]
    assert frame["n_unforgettable"].tolist() == [1, 2, 0, 1, 2, 1]
    assert frame["unforgettable"].tolist() == [False, True, False, False, False, False]
    pd.testing.assert_frame_equal(view.forgetting(ratio=1.0), frame[3:].reset_index(drop=True))
    with pytest.raises(EstimateError, match="has no run to estimate from, all that are committed diverged"):
        view.forgetting(ratio=0.7)
    with pytest.raises(EstimateError, match=r"ratio must be one of 0\.5, 0\.7, 1\.0, got 0\.2"):
        view.forgetting(ratio=0.2)


def test_at_evaluations_of_recorded_epochs(tmp_path: Path) -> None:
    right = np.array([[[1, 1, 0]], [[0, 1, 1]], [[1, 1, 0]]], dtype=bool)  # epochs, runs, examples
    subset, test = np.array([[True, True, False]]), np.zeros((1, 1), bool)
    runs = Runs(subset, right[2], test, earlier=[(each, test) for each in right[:2]])
    view = open_store(make_stores(tmp_path / "s", {0.5: runs}).uri)
    frame = view.forgetting(at="evaluations")
    assert frame["forgetting_total"].tolist() == [1, 0, 0]
    assert frame["never_presented"].tolist() == [False, False, True]
    held_out = view.forgetting(at="heldout")
    assert held_out["forgetting_total"].tolist() == [0, 0, 1]
    with pytest.raises(EstimateError, match=r"has no presentations: record\.presentations must be true, got False"):
        view.forgetting()
    once = make_store(tmp_path / "once", subset, right[2], test)
    with pytest.raises(EstimateError, match=r"has one evaluation of each run: record\.epochs must be all or a number"):
        estimate_forgetting(once, at="evaluations")
    with pytest.raises(EstimateError, match="at must be one of presentations, evaluations, heldout, got 'epochs'"):
        estimate_forgetting(once, at="epochs")  # type: ignore[arg-type]


def metadata(path: str) -> dict[str, Any]:
    return {key.decode(): value.decode() for key, value in pq.read_metadata(path).metadata.items()}


@pytest.mark.slow
def test_it_is_among_the_written_estimates(tmp_path: Path) -> None:
    runs = {0.5: runs_of(THREE, diverged=[2]), 0.7: runs_of(THREE, diverged=[0, 1, 2]), 1.0: runs_of(THREE)}
    written = []
    for place, size in enumerate((1, 3)):
        store = make_stores(tmp_path / str(place), runs, shard_size=size)
        path = write_estimates(store)["forgetting"]
        pd.testing.assert_frame_equal(pd.read_parquet(path), estimate_forgetting(store), check_exact=True)
        written.append(Path(path).read_bytes())
    assert written[0] == written[1]
    said = metadata(path)
    assert said["longtail.at"] == "presentations"
    assert json.loads(said["longtail.ratios"]) == {
        "0.5": {"runs": 2, "diverged": 1, "epoch": 4},
        "0.7": {"runs": 0, "diverged": 3, "epoch": None},
        "1.0": {"runs": 3, "diverged": 0, "epoch": 4},
    }
    alone = make_stores(tmp_path / "alone", {1.0: runs_of(THREE)})
    assert list(write_estimates(alone)) == ["forgetting"]
    random = np.random.default_rng(0)
    earlier = [(random.random((4, 9)) < 0.5, np.zeros((4, 0), bool))]
    evaluated = make_stores(tmp_path / "evaluated", {0.7: random_runs(random, 4, 9, 0, earlier=earlier)})
    paths = write_estimates(evaluated)
    assert metadata(paths["forgetting"])["longtail.at"] == "evaluations"
    assert set(paths) == {"forgetting", "memorization", "consistency", "cscore"}


# Of a whole data set ------------------------------------------------------------------------------------------------


def test_shares_and_histogram(tmp_path: Path) -> None:
    sequences = [
        ["1010101", "1111111", "0000000", "1000000", "-------", "1011111"],
        ["1010111", "0111111", "0000000", "1111111", "-------", "0000000"],
    ]
    frame = estimate_forgetting(make_stores(tmp_path / "s", {1.0: runs_of(sequences)}))
    (row,) = forgetting_summary(frame).to_dict("records")
    assert row.pop("histogram").tolist() == [1, 2, 0, 1]  # means of 0, 1/2 twice, 5/2
    assert row == {
        "ratio": 1.0,
        "examples": 5,
        "never_presented": 1,
        "unforgettable": 1 / 5,
        "unforgettable_per_run": 3 / 10,
        "never_learned": 1 / 5,
        "forgetting": pytest.approx((2.5 + 0 + 0 + 0.5 + 0.5) / 5),
    }


@pytest.mark.slow
def test_the_figure_shows_them(tmp_path: Path) -> None:
    runs = {0.5: runs_of(THREE), 1.0: runs_of([["1111"] * 3] * 3)}
    axes = plot.forgetting(estimate_forgetting(make_stores(tmp_path / "s", runs)))
    outlines = [patch for patch in axes.patches if isinstance(patch, StepPatch)]
    assert [np.asarray(outline.get_data()[0]).tolist() for outline in outlines] == [[1, 2], [3, 0]]
    assert axes.get_yscale() == "log"
    legend, figure = axes.get_legend(), axes.get_figure(root=True)
    assert legend is not None and figure is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "ratio 0.5: 0.0% unforgettable",
        "ratio 1: 100.0% unforgettable",
    ]
    figure.savefig(tmp_path / "f.svg")


def test_the_figure_of_examples_that_were_never_learned(tmp_path: Path) -> None:
    frame = estimate_forgetting(make_stores(tmp_path / "s", {1.0: runs_of([["00", "00", "11"]])}))
    axes = plot.forgetting(frame)
    (triangle,) = axes.collections
    assert np.asarray(triangle.get_offsets())[0, 1] == 2
    assert axes.get_xticklabels()[-1].get_text() == "never\nlearned"


# The command --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four runs of all digits, in a store that records presentations."""
    campaign = small_campaign(
        recipe={"epochs": 6, "batch_size": 128},
        subsets={"ratios": [1.0], "repetitions": 4, "seed": 5},
        record={"presentations": True},
    )
    folder = tmp_path_factory.mktemp("digits")
    (folder / "campaign.yaml").write_text(dump_campaign(campaign))
    run_campaign(campaign, folder / "s")
    return folder / "s"


@pytest.mark.slow
def test_on_the_command_line(digits: Path, tmp_path: Path) -> None:
    table, figure = tmp_path / "f.parquet", tmp_path / "f.png"
    code, output, error = call("forgetting", digits, "--top", 3, "--agreement", "-o", table, "--plot", figure)
    assert code == 0, error
    frame = open_store(digits).forgetting()
    pd.testing.assert_frame_equal(frame, pd.read_parquet(table))
    assert figure.read_bytes().startswith(b"\x89PNG")
    (row,) = forgetting_summary(frame).to_dict("records")
    lines = output.splitlines()
    assert lines[0] == "ratio 1: 1,437 examples shown to up to 4 runs"
    assert lines[1].startswith(
        f"unforgettable {row['unforgettable']:.1%} ({row['unforgettable_per_run']:.1%} in one run)"
    )
    assert 0 < row["unforgettable"] < row["unforgettable_per_run"] < 1
    most = frame.nlargest(3, "forgetting")
    assert [line.split()[0] for line in lines[3:6]] == [str(each) for each in most["example_id"]]
    never = frame.query("never_learned")["example_id"].tolist()
    assert lines[6].startswith(f"never learned: {', '.join(map(str, never[:3]))}")
    agreement = forgetting_agreement(Store.open(digits))
    assert f"{agreement['spearman'][0]:.2f} ± {agreement['spearman_sd'][0]:.2f}" in output
    assert output.endswith(f"table: {table}\nplot: {figure}\n")


def test_other_commands_take_it_up(digits: Path) -> None:
    code, output, _ = call("estimate", digits)
    assert (code, output) == (0, f"forgetting: {digits}/estimates/forgetting.parquet\n")
    code, output, _ = call("compare", digits, digits, "--estimate", "forgetting")
    assert (code, "Spearman 1.0000" in output, ">= 5" in output) == (0, True, True)


def test_mistakes_on_the_command_line(digits: Path, tmp_path: Path) -> None:
    silent = random_runs(np.random.default_rng(0), 3, 5, 1, 1.0)
    make_store(tmp_path / "silent", silent.subsets, silent.train, silent.test, ratio=1.0)
    for words, code, message in (
        ((digits, "--plot", tmp_path / "f.jpg"), 2, "--plot: must end with .png, .pdf, .svg, got "),
        ((digits, "--at", "evaluations"), 2, "has one evaluation of each run"),
        ((tmp_path / "silent",), 2, "record.presentations must be true, got False"),
    ):
        got, _, error = call("forgetting", *words)
        assert (got, message in error, "Traceback" in error) == (code, True, False), error
    code, output, _ = call("estimate", tmp_path / "silent")
    assert (code, output.startswith("nothing to estimate: at ratio 1 no example is held out, and forgetting")) == (
        0,
        True,
    )
