"""One rule for examples that all runs trained on, or none: they have a value by convention, and are in no list."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import analysis
from analysis import EstimateError, StoreView, open_store, without_empty_groups
from analysis.report import find
from analysis.report.selections import memorized_by_class, regular_by_class
from orchestrator.cli.app import app
from orchestrator.report.galleries import Galleries
from tests.synthetic import Labelled, Runs, make_store, make_stores

NEVER, ALWAYS = 0, 1
"""The example that is in no subset, and the one that is in all."""


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> StoreView:
    """8 runs at 0.3, 9 at 0.6, of 20 examples in 2 classes; example 2 decides half of the test examples."""
    random = np.random.default_rng(5)
    runs = {}
    for ratio, count in ((0.3, 8), (0.6, 9)):
        subsets = random.random((count, 20)) < ratio
        subsets[:, NEVER], subsets[:, ALWAYS] = False, True
        train = subsets | (random.random(subsets.shape) < 0.5)
        train[:, NEVER], train[:, ALWAYS] = False, True
        test = random.random((count, 10)) < 0.5
        test[:, :5] = subsets[:, 2:3]
        runs[ratio] = Runs(subsets, train, test)
    labels = Labelled(label=[0, 1] * 10, given_label=[1, *[1, 0] * 9, 1], test_label=[0, 1] * 5)
    return open_store(make_stores(tmp_path_factory.mktemp("empty") / "s", runs, labels).uri)


def test_values_follow_the_paper(view: StoreView) -> None:
    frame = view.memorization(ratio=0.6).set_index("example_id")
    assert list(frame.loc[NEVER, ["n_in", "p_in", "mem"]]) == [0, 0.5, 0.5]
    assert list(frame.loc[ALWAYS, ["n_out", "p_out", "mem"]]) == [0, 0.5, 0.5]
    assert np.isnan(frame.loc[[NEVER, ALWAYS], "se"]).all()
    assert (frame.loc[[NEVER, ALWAYS], "low"] <= 0).all()
    assert not np.isnan(view.influence_matrix(ratio=0.6)).any()


LISTS: dict[str, Callable[[StoreView], pd.DataFrame]] = {
    "top": lambda view: view.influence(ratio=0.6, top=20),
    "threshold": lambda view: view.influence(ratio=0.6, threshold=-1),
    "published": lambda view: view.influential_pairs(ratio=0.6, min_infl=-1, min_mem=-1, same_class=False),
    "discoveries": lambda view: view.discoveries(ratio=0.6, fdr=0.999999),
    "suspects": lambda view: view.suspects(by="mem", ratio=0.6),
    "compare": lambda view: analysis.compare(view.store.uri, view.store.uri, ratio=0.6).scores,
    "helper": lambda view: without_empty_groups(view.memorization()),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LISTS)
def test_every_list_leaves_out_what_rests_on_an_empty_group(view: StoreView, name: str) -> None:
    found = set(LISTS[name](view)["example_id"])
    assert found
    assert not found & {NEVER, ALWAYS}


def test_lists_have_them_where_they_are_asked_for(view: StoreView) -> None:
    for empty in ("half", "zero"):
        for frame in (
            view.influence(ratio=0.6, top=20, empty=empty),
            view.influence(ratio=0.6, threshold=-1, empty=empty),
            view.influential_pairs(ratio=0.6, min_infl=-1, min_mem=-1, same_class=False, empty=empty),
        ):
            assert {NEVER, ALWAYS} <= set(frame["example_id"])


@pytest.mark.slow
def test_the_command_line_the_notebook_and_estimate_list_the_same(view: StoreView, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.parquet"
    written = analysis.write_estimates(view.store, top=3, threshold=0.15)
    for options, keywords, name in (
        (["--top", "3"], {"top": 3}, "influence_top"),
        (["--threshold", "0.15"], {"threshold": 0.15}, "influence_pairs"),
    ):
        done = CliRunner().invoke(app, ["influence", view.store.uri, "--ratio", "0.6", *options, "-o", str(pairs)])
        assert done.exit_code == 0, done.output
        listed, noted = pd.read_parquet(pairs), pd.DataFrame(view.influence(ratio=0.6, **keywords))
        estimated = pd.read_parquet(written[name]).query("ratio == 0.6").reset_index(drop=True)
        pd.testing.assert_frame_equal(listed, noted, check_exact=True)
        pd.testing.assert_frame_equal(listed, estimated, check_exact=True)


def test_the_matrix_has_the_papers_value_on_the_command_line_too(view: StoreView, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["influence", view.store.uri, "--ratio", "0.6", "--matrix", str(tmp_path / "m")])
    assert done.exit_code == 0, done.output
    written = np.stack(pd.read_parquet(tmp_path / "m")["infl"].to_list())
    assert (written == view.influence_matrix(ratio=0.6)).all()


def test_the_report_leaves_them_out(view: StoreView) -> None:
    found = find(view.store, 0.6)
    shown = Galleries(found, None)
    assert found.top is not None
    assert found.influence is not None and found.influence.pairs is not None
    assert not {NEVER, ALWAYS} & {*found.top["example_id"], *found.influence.pairs["example_id"]}
    tiles = [tile.example for gallery in shown.memorized() for _, strip in gallery.strips for tile in strip]
    assert tiles
    assert not {NEVER, ALWAYS} & set(tiles)


def test_a_frame_without_counts_is_refused() -> None:
    with pytest.raises(EstimateError, match="must have a column n_in or n_out"):
        without_empty_groups(pd.DataFrame({"mem": [0.5]}))


def test_pairs_are_shown_by_their_lower_limits(tmp_path: Path) -> None:
    """One run without example 0 is wrong where all others are right: infl 1, and no evidence beside that of 20 runs."""
    subsets = np.ones((40, 3), dtype=bool)
    subsets[0, 0] = False
    subsets[20:, 1] = False
    subsets[::2, 2] = False
    test = np.stack([subsets[:, 0], subsets[:, 1] | (np.arange(40) == 39)], axis=1)
    store = make_store(tmp_path / "s", subsets, subsets, test).uri
    top = open_store(store).influence(top=1)
    assert top["infl"].tolist() == [1.0, 0.95]
    done = CliRunner().invoke(app, ["influence", store, "--top", "1"])
    assert done.exit_code == 0, done.output
    heading, first, second, *_ = (line.split() for line in done.stdout.splitlines())
    assert heading == ["test", "label", "train", "label", "infl", "low", "high", "n_in", "n_out"]
    assert [first[0], second[0]] == ["1", "0"]
    assert [first[-2:], second[-2:]] == [["20", "20"], ["39", "1"]]
    assert float(first[5]) > float(second[5])
    assert "2 pairs from 40 runs, the one with the largest influence on each test example; low to high" in done.stdout


@pytest.mark.slow
def test_commands_say_what_is_left_out_and_how_many_runs_a_cscore_rests_on(tmp_path: Path) -> None:
    subsets = np.array([[1, 0, 0, 1], [1, 1, 0, 1], [0, 1, 0, 1]], dtype=bool)
    store = make_store(tmp_path / "s", subsets, np.zeros((3, 4), bool), np.zeros((3, 1), bool))
    told = CliRunner().invoke(app, ["influence", store.uri]).output
    assert told.endswith("left out: 2 training examples, in every subset of these runs or in none\n")
    assert "left out" not in CliRunner().invoke(app, ["influence", store.uri, "--empty", "half"]).output
    told = CliRunner().invoke(app, ["suspects", store.uri]).output
    assert "ranked by cscore: 3 examples, each held out by 1 to 3 runs; without one, and left out: 1\n" in told


def test_galleries_go_by_evidence() -> None:
    columns = {"example_id": [0, 1, 2], "given_label": [0, 0, 0]}
    mem = pd.DataFrame({**columns, "mem": [1.0, 0.9, 0.1], "low": [-0.1, 0.8, 0.0], "high": [1.0, 0.95, 0.2]})
    cscore = pd.DataFrame({**columns, "cscore": [0.0, 0.1, 1.0], "low": [0.0, 0.05, 0.3], "high": [0.8, 0.15, 1.0]})
    (memorized,), (regular,) = memorized_by_class(mem, 1), regular_by_class(cscore, 1)
    assert memorized.strips[0].rows["example_id"].tolist() == [1]
    assert [strip.rows["example_id"].tolist() for strip in regular.strips] == [[1], [2]]
