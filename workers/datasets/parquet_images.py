"""Data sets of Parquet files with an image and a label column, as on the Hugging Face hub."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa

from workers.campaign.dataset_spec import ParquetImages
from workers.datasets.dataset import Dataset
from workers.datasets.images import EncodedImage, EncodedImages, decode_splits
from workers.datasets.parquet_files import MAX_ROWS, ParquetFile, open_parquet
from workers.datasets.parquet_labels import number_classes, read_labels
from workers.datasets.parquet_names import read_names
from workers.datasets.parquet_selection import Selection, check_selections, select_files
from workers.errors import DataError

_ROWS_AT_ONCE = 256


def source_files(spec: ParquetImages) -> Iterable[Path]:
    """Every Parquet file, training files first. Raises DataError where there are none."""
    train, test = _select_splits(spec)
    return [*train.files, *(test.files if test else ())]


def decode(spec: ParquetImages, scratch: Path) -> Dataset:
    """Examples in the order of files and rows; classes as `number_classes` numbers them.

    Raises DataError where the files are not what was meant (see `check_selections`), a column is missing or of another
    type, or a row has no image, no label or an unknown one.
    """
    train_selection, test_selection = _select_splits(spec)
    notes = check_selections(train_selection, test_selection)
    train_files, test_files = train_selection.files, test_selection.files if test_selection else ()
    for field, files in (("train", train_files), ("test", test_files)):
        _check_files(field, files, spec)
    column = spec.label_column
    classes = number_classes(read_labels(train_files, column), read_labels(test_files, column), column)
    train = EncodedImages(len(classes.train), partial(_read_images, train_files, spec.image_column))
    test = EncodedImages(len(classes.test), partial(_read_images, test_files, spec.image_column))
    if train.count == 0:
        raise DataError(f"dataset.train: {spec.train} has no rows")
    images = decode_splits(train, test, spec, scratch)
    notes += classes.notes + images.notes
    return Dataset(
        images.train,
        classes.train,
        images.test,
        classes.test,
        classes.names,
        notes=notes,
        train_names=read_names(train_files, spec),
        test_names=read_names(test_files, spec),
    )


def _select_splits(spec: ParquetImages) -> tuple[Selection, Selection | None]:
    return select_files("train", spec.train), None if spec.test is None else select_files("test", spec.test)


def _check_files(field: str, files: Sequence[Path], spec: ParquetImages) -> None:
    """Raise DataError where a split has too many rows, or a file not its columns."""
    rows = 0
    for file in map(open_parquet, files):
        _check_columns(file, spec)
        rows += file.rows
    if rows > MAX_ROWS:
        raise DataError(f"dataset.{field}: claims {rows:,} rows, at most {MAX_ROWS:,} are read")


def _check_columns(opened: ParquetFile, spec: ParquetImages) -> None:
    file, schema = opened.path, opened.schema
    for field in ("image_column", "label_column"):
        name = getattr(spec, field)
        if schema.names.count(name) != 1:
            raise DataError(f"dataset.{field}: {file} has the columns {', '.join(schema.names)}, got {name!r}")
    image = schema.field(spec.image_column).type
    if opened.rows == 0:
        return  # what writes empty files may not know the types of their columns
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


def _read_images(files: Sequence[Path], column: str) -> Iterator[EncodedImage]:
    """The encoded images row by row; a bounded number of rows is in memory."""
    for file in map(open_parquet, files):
        row = 0
        is_struct = file.rows > 0 and pa.types.is_struct(file.schema.field(column).type)
        for images in file.blocks(f"{column}.bytes" if is_struct else column, _ROWS_AT_ONCE) if file.rows else ():
            contents = images.field("bytes") if is_struct else images
            for content, missing in zip(contents, images.is_null(), strict=True):
                where = f"{file.path}: row {row}"
                if missing.as_py() or not content.is_valid:
                    raise DataError(f"{where}: has no image bytes in column {column!r}")
                yield EncodedImage(where, content.as_py())
                row += 1
