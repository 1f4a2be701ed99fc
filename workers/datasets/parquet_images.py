"""Parquet files with an image column and a label column, as on the Hugging Face hub."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa

from workers.datasets.dataset import Dataset
from workers.datasets.images import EncodedImage, EncodedImages, decode_splits
from workers.datasets.parquet_files import iterate_column, list_files, read_schema
from workers.datasets.parquet_labels import class_numbers, hub_class_names, read_labels
from workers.errors import DataError
from workers.specs import ParquetImages


def source_files(spec: ParquetImages) -> Iterable[Path]:
    """Every Parquet file, training files first. Raises DataError where there are none."""
    train, test = _list_splits(spec)
    return train + test


def decode(spec: ParquetImages, scratch: Path) -> Dataset:
    """Examples in the order of files and rows.

    Class names are the hub's `ClassLabel` names where the files have them; else the sorted strings of a label column of
    text, or the numbers 0 to the greatest training label.
    Raises DataError where a column is missing or of another type, or a row has no image, no label or an unknown one.
    """
    train_files, test_files = _list_splits(spec)
    for file in train_files + test_files:
        _check_columns(file, spec)
    names = hub_class_names(read_schema(train_files[0]), spec.label_column)
    train_labels = read_labels(train_files, spec.label_column)
    test_labels = read_labels(test_files, spec.label_column) if test_files else None
    class_names, (train_numbers, test_numbers) = class_numbers(train_labels, test_labels, names, spec.label_column)
    train = EncodedImages(len(train_numbers), partial(_read_images, train_files, spec.image_column))
    test = EncodedImages(len(test_numbers), partial(_read_images, test_files, spec.image_column))
    if train.count == 0:
        raise DataError(f"dataset.train: {spec.train} has no rows")
    train_images, test_images = decode_splits(train, test, spec, scratch)
    return Dataset(train_images, train_numbers, test_images, test_numbers, class_names)


def _list_splits(spec: ParquetImages) -> tuple[list[Path], list[Path]]:
    return list_files("train", spec.train), [] if spec.test is None else list_files("test", spec.test)


def _check_columns(file: Path, spec: ParquetImages) -> None:
    schema = read_schema(file)
    for field in ("image_column", "label_column"):
        name = getattr(spec, field)
        if schema.names.count(name) != 1:
            raise DataError(f"dataset.{field}: {file} has the columns {', '.join(schema.names)}, got {name!r}")
    image = schema.field(spec.image_column).type
    if not (_is_bytes(image) or (pa.types.is_struct(image) and _is_bytes_struct(image))):
        raise DataError(
            f"dataset.image_column: {spec.image_column!r} of {file} must be binary or a struct with binary field "
            f"`bytes`, got {image}"
        )


def _is_bytes(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))


def _is_bytes_struct(kind: pa.StructType) -> bool:
    index = kind.get_field_index("bytes")
    return index >= 0 and _is_bytes(kind.field(index).type)


def _read_images(files: list[Path], column: str) -> Iterator[EncodedImage]:
    """The encoded images row by row; a bounded number of rows is in memory."""
    for file in files:
        row = 0
        for images in iterate_column(file, column):
            contents = images.field("bytes") if pa.types.is_struct(images.type) else images
            for content, missing in zip(contents, images.is_null(), strict=True):
                where = f"{file}: row {row}"
                if missing.as_py() or not content.is_valid:
                    raise DataError(f"{where}: has no image bytes in column {column!r}")
                yield EncodedImage(where, content.as_py())
                row += 1
