"""Parquet files with images."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.datasets.support import as_struct, error_of, parquet_spec, png, reader_notes, real_data, write_parquet
from workers.datasets import load_dataset


def test_parquet_folders_are_read_in_sorted_order(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train/1.parquet", as_struct([4, 5, 6]), [1, 0, 2])
    write_parquet(tmp_path / "train/0.parquet", as_struct([1, 2, 3]), [0, 1, 0])
    test = write_parquet(tmp_path / "test.parquet", [png(9)], [2])
    dataset = load_dataset(parquet_spec(tmp_path / "train", test))
    assert dataset.train_images[:, 0, 0, 0].tolist() == [1, 2, 3, 4, 5, 6]
    assert dataset.train_labels.tolist() == [0, 1, 0, 1, 0, 2]
    assert dataset.test_images[0, 0, 0, 0] == 9
    assert dataset.class_names == ("0", "1", "2")
    assert load_dataset(parquet_spec(tmp_path / "train")).num_test == 0


def test_class_names_of_the_hub_and_of_text_labels(tmp_path: Path) -> None:
    feature = {"names": ["cat", "dog", "eel"], "_type": "ClassLabel"}
    hub = {"huggingface": json.dumps({"info": {"features": {"label": feature}}})}
    train = write_parquet(tmp_path / "hub.parquet", as_struct([1, 2]), [0, 1], hub)
    assert load_dataset(parquet_spec(train)).class_names == ("cat", "dog", "eel")
    text = pa.array(["zebra", "ape"]).dictionary_encode()
    train = write_parquet(tmp_path / "text.parquet", as_struct([1, 2]), text)
    dataset = load_dataset(parquet_spec(train))
    assert (dataset.class_names, dataset.train_labels.tolist()) == (("ape", "zebra"), [1, 0])


def named(*names: str, kind: str = "ClassLabel") -> dict[str, str]:
    feature = {"names": list(names), "_type": kind}
    return {"huggingface": json.dumps({"info": {"features": {"label": feature}}})}


def write_hub(path: Path, labels: Any, metadata: dict[str, str] | None = None) -> Path:
    """Image i of a file is that of its number in the name, so that no two files are equal."""
    first = sum(map(ord, path.name)) % 50
    return write_parquet(path, as_struct([first + i for i in range(len(labels))]), labels, metadata)


def labels_of(dataset: Any, split: str = "train") -> list[str]:
    return [dataset.class_names[label] for label in getattr(dataset, f"{split}_labels")]


def test_every_file_is_read_by_its_own_class_names(tmp_path: Path) -> None:
    write_hub(tmp_path / "train/0.parquet", [0, 1], named("cat", "dog"))
    write_hub(tmp_path / "train/1.parquet", [0, 1, 2], named("ant", "dog", "cat"))
    write_hub(tmp_path / "train/2.parquet", pa.array(["dog", "ant"]).dictionary_encode())
    test = write_hub(tmp_path / "test.parquet", [0, 1], named("dog", "cat"))
    dataset = load_dataset(parquet_spec(tmp_path / "train", test))
    assert dataset.class_names == ("cat", "dog", "ant")
    assert labels_of(dataset) == ["cat", "dog", "ant", "dog", "cat", "dog", "ant"]
    assert labels_of(dataset, "test") == ["dog", "cat"]
    (note,) = [note for note in dataset.notes if "class names differ" in note]
    assert f"{tmp_path}/train/0.parquet has cat, dog; {tmp_path}/train/1.parquet has ant, dog, cat" in note


def test_files_that_agree_keep_the_numbers_in_them(tmp_path: Path) -> None:
    """Names that are there twice, and numbers without names beside them, are read as before."""
    train = write_hub(tmp_path / "train.parquet", [2, 0, 1], named("a", "a", "b"))
    test = write_hub(tmp_path / "test.parquet", [1, 2], named("a", "a", "b"))
    dataset = load_dataset(parquet_spec(train, test))
    assert (dataset.train_labels.tolist(), dataset.test_labels.tolist()) == ([2, 0, 1], [1, 2])
    assert reader_notes(parquet_spec(train, test)) == ()
    write_hub(tmp_path / "test.parquet", [1, 2])
    dataset = load_dataset(parquet_spec(train, test))
    assert dataset.test_labels.tolist() == [1, 2]
    assert reader_notes(parquet_spec(train, test)) == (
        f"{test} has no class names: its numbers are taken for those of {train}",
    )


def test_categories_of_every_file_and_row_group(tmp_path: Path) -> None:
    import pandas

    for index, labels in enumerate((["zebra", "ape", "ape"], ["ape", "bee", "zebra"])):
        frame = pandas.DataFrame({"image": [png(9 * index + i) for i in range(3)], "label": labels})
        frame["label"] = frame["label"].astype("category")
        (tmp_path / "train").mkdir(exist_ok=True)
        frame.to_parquet(tmp_path / f"train/{index}.parquet", index=False, row_group_size=1)
    dataset = load_dataset(parquet_spec(tmp_path / "train"))
    assert labels_of(dataset) == ["zebra", "ape", "ape", "ape", "bee", "zebra"]
    assert dataset.class_names == ("ape", "bee", "zebra")


@pytest.mark.parametrize(
    ("train", "test", "text"),
    [
        (
            ([0], named("a", "b")),
            ([1], named("b", "c")),
            "test.parquet: row 0: column 'label' must be one of the 2 classes (a, b), got 'c'",
        ),
        (
            ([0], named("a", "b")),
            ([2], named("b", "a")),
            "test.parquet: row 0: column 'label' must be one of the 2 classes (0 to 1), got 2",
        ),
        (([0], named("a", "a")), ([0], named("b", "a")), "has a class name twice (a, a), and"),
        ((["0", "1"], None), ([0, 1], None), "is text in TRAIN, but numbers without class names in TEST"),
        (
            ([0], named("a", "b")),
            ([-1, -1], named("a", "b")),
            "TEST: column 'label' is -1 in every row: these examples have no labels",
        ),
        (([True], None), None, "must be integers or text, got bool"),
        (([[0]], named("a", kind="Sequence")), None, "must be integers or text, got list<"),
        (([None], None), None, "must be integers or text, got null"),
        (([0.0], named("a", "b")), None, "must be integers or text, got double"),
    ],
)
def test_labels_that_cannot_be_told_are_refused(tmp_path: Path, train: Any, test: Any, text: str) -> None:
    train_file = write_hub(tmp_path / "train.parquet", *train)
    test_file = None if test is None else write_hub(tmp_path / "test.parquet", *test)
    expected = text.replace("TRAIN", str(train_file)).replace("TEST", str(test_file))
    assert expected in error_of(lambda: load_dataset(parquet_spec(train_file, test_file)))


@pytest.mark.parametrize(
    ("images", "labels", "text"),
    [
        (as_struct([1, 2]), [0, None], "row 1: has no label in column 'label'"),
        ([png(1), None], [0, 1], "row 1: has no image bytes in column 'image'"),
        ([{"bytes": png(1), "path": ""}, {"bytes": None, "path": "x"}], [0, 1], "row 1: has no image bytes"),
        ([png(1), b"no image"], [0, 1], "row 1: is not an image"),
        ([png(1), png(1, (3, 2))], [0, 1], "row 1: is 3 x 2 pixels, but"),
        (as_struct([1, 2]), [0, -1], "row 1: column 'label' must be one of the 1 classes (0 to 0), got -1"),
        (as_struct([1, 2]), [0, 10**9], "must hold class numbers below 1000000, got 1000000000"),
        (as_struct([1, 2]), [0.0, 1.0], "must be integers or text, got double"),
        (["a", "b"], [0, 1], "must be binary or a struct with binary field `bytes`, got string"),
        (pa.array([], pa.binary()), pa.array([], pa.int64()), "has no rows"),
    ],
)
def test_parquet_rows_that_cannot_be_used(tmp_path: Path, images: list[Any], labels: Any, text: str) -> None:
    train = write_parquet(tmp_path / "train.parquet", images, labels)
    assert text in error_of(lambda: load_dataset(parquet_spec(train)))


def test_a_test_label_that_training_does_not_have(tmp_path: Path) -> None:
    train = write_parquet(tmp_path / "train.parquet", as_struct([1, 2]), ["a", "b"])
    test = write_parquet(tmp_path / "test.parquet", as_struct([1]), ["c"])
    assert "test.parquet: row 0: column 'label' must be one of the 2 classes (a, b), got 'c'" in error_of(
        lambda: load_dataset(parquet_spec(train, test))
    )


def test_parquet_files_that_cannot_be_used(tmp_path: Path) -> None:
    train = write_parquet(tmp_path / "train.parquet", as_struct([1]), [0])
    assert "has the columns image, label, got 'img'" in error_of(
        lambda: load_dataset(parquet_spec(train, image_column="img"))
    )
    assert "dataset.train: must be" in error_of(lambda: load_dataset(parquet_spec(tmp_path / "nowhere")))
    train.write_bytes(train.read_bytes()[:-10])
    assert "cannot be read as Parquet" in error_of(lambda: load_dataset(parquet_spec(train)))


def test_cifar10_as_parquet() -> None:
    root = real_data("cifar10")
    dataset = load_dataset(parquet_spec(root / "test.parquet"))
    assert dataset.train_images.shape == (10_000, 3, 32, 32)
    assert np.bincount(dataset.train_labels).tolist() == [1000] * 10
    assert 110 < dataset.train_images.mean() < 130


def test_names_of_examples_are_paths_or_a_column(tmp_path: Path) -> None:
    images = [{"bytes": png(value), "path": path} for value, path in ((1, "a.png"), (2, None), (3, "c.png"))]
    train = write_parquet(tmp_path / "train.parquet", images, [0, 1, 0])
    test = write_parquet(tmp_path / "test.parquet", [png(9)], [1])
    dataset = load_dataset(parquet_spec(train, test))
    assert dataset.train_names is not None
    assert (dataset.train_names.to_pylist(), dataset.test_names) == (["a.png", "", "c.png"], None)
    without = write_parquet(tmp_path / "none.parquet", as_struct([1, 2, 3]), [0, 1, 0])
    assert load_dataset(parquet_spec(without)).train_names is None
    table = pq.read_table(train).append_column("id", pa.array([30, 10, 20]))
    pq.write_table(table, train)
    names = load_dataset(parquet_spec(train, name_column="id")).train_names
    assert names is not None and names.to_pylist() == ["30", "10", "20"]
    told = error_of(lambda: load_dataset(parquet_spec(train, name_column="uid")))
    assert told == f"dataset.name_column: {train} has the columns image, label, id, got 'uid'"
    assert "must be text or whole numbers" in error_of(lambda: load_dataset(parquet_spec(train, name_column="image")))
