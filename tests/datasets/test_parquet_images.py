"""Parquet files with images."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.datasets.support import error_of, real_data
from workers.datasets import load_dataset
from workers.specs import ParquetImages


def png(value: int, size: tuple[int, int] = (2, 2)) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", size, value).save(buffer, "png")
    return buffer.getvalue()


def write_parquet(path: Path, images: list[Any], labels: Any, metadata: dict[str, str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"image": images, "label": labels})
    pq.write_table(table.replace_schema_metadata(metadata), path, row_group_size=2)
    return path


def parquet_spec(train: Path, test: Path | None = None, **options: Any) -> ParquetImages:
    return ParquetImages(name="parquet", train=str(train), test=None if test is None else str(test), **options)


def as_struct(values: list[int]) -> list[dict[str, Any]]:
    return [{"bytes": png(value), "path": None} for value in values]


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
