"""The cookbook's queries run as they stand, and answer what they say: each is compared with the Python API."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import StoreView, open_store, write_estimates
from orchestrator import run_campaign
from tests.command import call
from tests.conftest import small_campaign

TEXT = (Path(__file__).parents[2] / "docs" / "queries.md").read_text()
SNIPPETS = dict(re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?```python\n(.*?)```", TEXT, flags=re.MULTILINE | re.DOTALL))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an estimated store of 40 runs, two ratios, two recorded epochs."""
    path = tmp_path_factory.mktemp("queries")
    campaign = small_campaign(
        model={"name": "mlp", "hidden": [64]},
        recipe={"epochs": 8, "batch_size": 64},
        record={"epochs": 4, "outputs": ("loss",)},
        subsets={"ratios": [0.3, 0.7], "repetitions": 20},
    )
    run_campaign(campaign, path / "store")
    write_estimates(open_store(path / "store").store)
    assert call("audit", path / "store", "--ratio", 0.7)[0] == 0
    return path


@pytest.fixture
def view(folder: Path, monkeypatch: pytest.MonkeyPatch) -> StoreView:
    """The store, in the working directory as the cookbook has it."""
    monkeypatch.chdir(folder)
    return open_store("store")


def names_of(heading: str) -> dict[str, Any]:
    """What a snippet defines."""
    names: dict[str, Any] = {}
    exec(compile(SNIPPETS[heading], heading, "exec"), names)  # noqa: S102 - it is ours
    return names


def test_every_snippet_is_known() -> None:
    assert len(SNIPPETS) == TEXT.count("```python") == TEXT.count("\n## ") == 13


@pytest.mark.slow
@pytest.mark.parametrize("heading", SNIPPETS)
def test_a_snippet_prints_an_answer(heading: str, view: StoreView, capsys: pytest.CaptureFixture[str]) -> None:
    names_of(heading)
    assert capsys.readouterr().out.strip()


def test_accuracies(view: StoreView) -> None:
    accuracy = names_of("How accurate are the runs, by ratio and epoch?")["accuracy"]
    summary = view.summary().set_index("ratio")
    columns = ["subset_accuracy", "heldout_accuracy", "test_accuracy"]
    pd.testing.assert_frame_equal(summary[columns], accuracy.xs(8, level="epoch")[columns])
    assert sorted(set(accuracy.index.get_level_values("epoch"))) == [4, 8]
    heldout = names_of("How accurate are they on examples that they did not train on, and how sure is that?")["heldout"]
    final = view.runs().query("is_final").groupby("ratio")["heldout_accuracy"]
    expected = pd.DataFrame({"mean": final.mean(), "standard_error": final.sem()}).reset_index()
    pd.testing.assert_frame_equal(heldout.df()[["ratio", "mean", "standard_error"]], expected)


def test_most_memorized_of_each_class(view: StoreView) -> None:
    most = names_of("Which examples of each class are memorized most?")["most"]
    mem = view.memorization(ratio=0.7, empty="nan")
    assert most.groupby("given_label").size().to_dict() == dict.fromkeys(range(10), 3)
    low = mem[mem["mem"].notna()].groupby("given_label")["low"]
    assert most.groupby("given_label")["low"].max().to_dict() == low.max().to_dict()


def test_suspect_labels(view: StoreView) -> None:
    suspects = names_of("Which labels look wrong?")["suspects"]
    mem, cscore = view.memorization(ratio=0.7, empty="nan")["mem"], view.cscore()["cscore"]
    assert sorted(suspects["example_id"]) == np.flatnonzero((mem >= 0.5) & (cscore <= 0.25)).tolist()
    assert len(suspects)


def test_exposed_examples(view: StoreView) -> None:
    exposed = names_of("Which training examples could be detected by a membership attack?")["exposed"].df()
    examples = view.audit(ratio=0.7).examples
    expected = examples[(examples["low"] > 0.5) & (examples["mem"] < 0.1)]
    assert len(exposed) == min(20, len(expected)) > 0
    assert exposed["low"].tolist() == expected["low"].nlargest(20).tolist()


def test_leaning_test_examples(view: StoreView) -> None:
    leaning = names_of("Which test examples depend on a single training example?")["leaning"].df()
    assert len(leaning)
    infl = np.nan_to_num(view.influence_matrix(ratio=0.7, empty="nan"), nan=-2)
    for row in leaning.itertuples():
        second, first = np.partition(infl[row.test_example_id], -2)[-2:]
        assert infl[row.test_example_id].argmax() == row.example_id
        assert (row.infl, row.next_infl) == (pytest.approx(first), pytest.approx(second))


def test_share_of_helped_test_examples(view: StoreView) -> None:
    share = names_of("How many test examples of each class need one particular training example?")["share"]
    pairs = view.influence(ratio=0.7, threshold=0.15).query("test_label == given_label")
    helped = pairs.groupby("test_label")["test_example_id"].nunique().reindex(range(10), fill_value=0)
    counts = view.examples("test").groupby("label").size()
    assert share["test_examples"].to_list() == counts.tolist()
    assert share["helped"].to_list() == pytest.approx((helped / counts).tolist())
    assert share["helped"].max() > 0


def test_history_of_one_example(view: StoreView) -> None:
    history = names_of("What happened to one example, run by run?")["history"].df()
    assert len(history) == 40 * 2
    final = history[history["epoch"] == 8].set_index("run_id")
    for column, frame in (("trained_on", view.subsets()), ("correct", view.correctness("train"))):
        assert final[column].to_dict() == frame[61].to_dict()


def test_late_examples(view: StoreView) -> None:
    late = names_of("Which examples are learned late?")["late"]
    first, last = (view.correctness("train", ratio=0.7, epoch=epoch).mean() for epoch in (4, 8))
    by_id = late.sort("example_id")
    assert by_id["first"].to_list() == pytest.approx(first.tolist())
    assert by_id["last"].to_list() == pytest.approx(last.tolist())
    assert late["gain"][0] == pytest.approx((last - first).max())


def test_memorization_by_hand(view: StoreView) -> None:
    names = names_of("Memorization by hand")
    assert names["off"] < 1e-12
    by_hand = names["by_hand"].df().sort_values(["ratio", "example_id"])["mem_by_hand"].to_numpy()
    np.testing.assert_allclose(by_hand, view.memorization(empty="nan")["mem"], atol=1e-12)


def test_shared_mistakes(view: StoreView) -> None:
    names = names_of("Which mistakes do two runs share? All runs as one matrix")
    wrong = ~view.correctness("test", ratio=0.7)
    assert names["last"]["run_id"].tolist() == wrong.index.tolist()
    assert np.diag(names["shared"]).tolist() == wrong.sum(axis=1).tolist()
    assert names["shared"][2, 5] == (wrong.iloc[2] & wrong.iloc[5]).sum()


def test_basis_and_room(view: StoreView, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names_of("What does an estimate rest on?")
    assert capsys.readouterr().out.splitlines()[1] == "0.7 {'runs': 20, 'diverged': 0, 'epoch': 8}"
    room = names_of("What uses disk space in a store?")["room"].df()
    outputs, bits = room["column_name"][:2], room["column_name"][2:5]
    assert set(outputs) == {"train_cross_entropy", "test_cross_entropy"}
    assert set(bits) == {"subset", "train_correct", "test_correct"}
    files = sum(path.stat().st_size for path in (folder / "store" / "results").iterdir())
    assert 0.2 * files < room["bytes"].sum() < files
