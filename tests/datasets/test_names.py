"""Names of examples and classes: from the files of a data set to the store and to every table that people look at."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis import open_store
from orchestrator.campaigns.run import run_campaign
from tests.command import call
from tests.conftest import small_campaign
from tests.datasets.support import write_image
from tests.stores import NUM_TEST, NUM_TRAIN, new_store
from workers.errors import DamagedFileError
from workers.store import Store, examples_table
from workers.store.parquet.table_file import encode

CLASSES = ("[bold]ant", "cat")
TRAIN = [f"train/{name}/{number}.png" for name in CLASSES for number in range(6)]
TESTS = [f"test/{name}/{number}.png" for name in CLASSES for number in range(2)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an image folder, trained."""
    folder = tmp_path_factory.mktemp("names")
    for place, name in enumerate([*TRAIN, *TESTS]):
        write_image(folder / "images" / name, (place * 9, 99, 255 - place * 9), size=(2, 2))
    campaign = small_campaign(
        dataset={"name": "image-folder", "root": str(folder / "images")},
        model={"name": "mlp", "hidden": []},
        recipe={"epochs": 2, "batch_size": 2},
        subsets={"ratios": [0.5], "repetitions": 8},
        label_noise={"fraction": 0.2},
        record={"presentations": True},
    )
    run_campaign(campaign, folder / "s")
    return folder / "s"


def test_a_store_has_names_of_examples_and_classes(store: Path) -> None:
    examples = pd.read_parquet(store / "examples.parquet")
    assert list(examples) == ["split", "example_id", "label", "given_label", "label_name", "given_label_name", "name"]
    assert examples["name"].tolist() == TRAIN + TESTS
    for column in ("label", "given_label"):
        assert examples[f"{column}_name"].tolist() == [CLASSES[label] for label in examples[column]]
    assert (examples["label"] != examples["given_label"]).sum() == 2
    assert Store.open(store).maintenance.inspect("examples.parquet") is None


@pytest.mark.slow
def test_every_frame_with_examples_has_their_names(store: Path) -> None:
    view = open_store(store)
    frames = [view.memorization(), view.cscore(), view.consistency(), view.forgetting(), view.suspects()]
    for frame in [*frames, view.expected_se(50), view.proxies()]:
        assert frame["name"].tolist() == [TRAIN[example] for example in frame["example_id"]]
        assert frame["given_label_name"].tolist() == [CLASSES[label] for label in frame["given_label"]]
        columns = list(frame)
        assert columns[columns.index("example_id") + 1] == "name"
        assert columns[columns.index("label") + 1] == "label_name"
    pairs = view.influence(top=3)
    assert pairs["name"].tolist() == [TRAIN[example] for example in pairs["example_id"]]
    assert pairs["test_name"].tolist() == [TESTS[example] for example in pairs["test_example_id"]]
    assert list(view.noise()["score"]) == list(view.noise()["score"].unique())  # a table of scores, not of examples
    assert view.proxy_agreement()["proxy"].tolist() == [
        name for name in map(str, view.proxies()) if "accuracy" in name or "neg" in name
    ]
    shown = view.memorization()._repr_html_()  # type: ignore[operator]
    assert TRAIN[0] in shown.replace("&#x5b;", "[")
    assert "label_name" not in shown  # the names stand where the labels do


@pytest.mark.parametrize(
    "words", [["suspects", "--by", "mem"], ["cscore"], ["influence", "--top", "2"], ["forgetting"]]
)
def test_listings_and_files_have_names(store: Path, tmp_path: Path, words: list[str]) -> None:
    output = tmp_path / "table.csv"
    command = [words[0], str(store), *words[1:], "-o", str(output)]
    code, shown, _ = call(*command)
    assert code == 0, shown
    written = pd.read_csv(output)
    assert written["name"].tolist() == [TRAIN[example] for example in written["example_id"]]
    assert set(written["label_name"]) == set(CLASSES)
    assert written["name"][0] in shown  # as it is: no markup of a class name is carried out
    assert "[bold]ant" in shown


@pytest.mark.slow
def test_estimates_have_names(store: Path) -> None:
    assert call("estimate", store)[0] == 0
    for name in ("memorization", "cscore", "consistency", "forgetting", "influence_top"):
        table = pd.read_parquet(store / "estimates" / f"{name}.parquet")
        assert table["name"].tolist() == [TRAIN[example] for example in table["example_id"]]
    assert call("verify", store)[0] == 0


def test_a_store_without_names_opens_as_before(store: Path, tmp_path: Path) -> None:
    """As all did before there were any."""
    old = tmp_path / "s"
    old.mkdir()
    for file in ("campaign.json", "results"):
        (old / file).symlink_to(store / file)
    table = pq.read_table(store / "examples.parquet").select(["split", "example_id", "label", "given_label"])
    pq.write_table(table, old / "examples.parquet")
    view = open_store(old)
    assert view.store.maintenance.inspect("examples.parquet") is None
    assert view.store.names == (None, None)
    assert not {"name", "test_name"} & {*view.memorization(), *view.influence()}


def changed(column: str, train: str | None, test: str | None) -> pa.Table:
    """The examples of a store of `tests.stores`, with other texts in a column."""
    labels, tests = np.zeros(NUM_TRAIN, np.int64), np.zeros(NUM_TEST, np.int64)
    names = (pa.array(map(str, range(NUM_TRAIN))), pa.array(["t"] * NUM_TEST))
    table = examples_table(labels, labels, tests, class_names=("a", "b"), names=names)
    values = pa.array([train] * NUM_TRAIN + [test] * NUM_TEST, pa.string())
    return table.set_column(table.column_names.index(column), column, values)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (changed("label_name", "b", "b"), "column label_name: does not contain the class names"),
        (changed("given_label_name", "a", None), "column given_label_name: does not contain the class names"),
        (changed("name", "n" * 1001, "n"), "column name: holds a text of 1001 bytes"),
        (changed("name", "n", "n").select([0, 1, 2, 3, 6, 4, 5]), "has unexpected columns"),
        (changed("name", "n", "n").rename_columns(list("abcdefg")), "has unexpected columns"),
        (changed("name", "n", "n").append_column("x", pa.nulls(26, pa.string())), "has unexpected columns"),
    ],
)
def test_names_in_a_foreign_store_are_not_believed(table: pa.Table, told: str, tmp_path: Path) -> None:
    opened = new_store(tmp_path / "s")
    (tmp_path / "s" / "examples.parquet").write_bytes(encode(table, {}))
    assert told in (opened.maintenance.inspect("examples.parquet") or "")
    if "class" not in told:
        with pytest.raises(DamagedFileError, match=told):
            opened.examples()


def test_a_split_without_names_has_none(tmp_path: Path) -> None:
    opened = new_store(tmp_path / "s")
    (tmp_path / "s" / "examples.parquet").write_bytes(encode(changed("name", "x", None), {}))
    train, tests = opened.names
    assert train is not None and (train.to_pylist(), tests) == (["x"] * NUM_TRAIN, None)
