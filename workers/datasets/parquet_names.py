"""Reads the names of examples from Parquet files."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from workers.campaign.dataset_spec import ParquetImages
from workers.datasets.description import fitting_name
from workers.datasets.parquet_files import ParquetFile, open_parquet, read_integers, read_texts
from workers.errors import DataError


def read_names(files: Sequence[Path], spec: ParquetImages) -> list[str] | None:
    """The names of a split's examples: a column that the specification names, or the images' own `path`; None: none.

    Raises DataError where the column is missing, or neither text nor whole numbers.
    """
    names: list[str] = []
    for file in map(open_parquet, files):
        file_names = (
            _column_names(file, spec.name_column) if spec.name_column else _image_paths(file, spec.image_column)
        )
        if file_names is None:
            return None
        names += [fitting_name(name or "") for name in file_names]
    return names if any(names) else None


def _column_names(file: ParquetFile, column: str) -> list[str | None]:
    schema = file.schema
    if schema.names.count(column) != 1:
        raise DataError(f"dataset.name_column: {file.path} has the columns {', '.join(schema.names)}, got {column!r}")
    kind = schema.field(column).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    is_number = pa.types.is_integer(kind)
    if not (is_number or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise DataError(f"dataset.name_column: {column!r} of {file.path} must be text or whole numbers, got {kind}")
    values = read_integers(file, column).cast(pa.large_string()) if is_number else read_texts(file, column)
    names: list[str | None] = values.to_pylist()
    return names


def _image_paths(file: ParquetFile, column: str) -> list[str | None] | None:
    """The `path` of each image; None where the column has none. Decodes paths alone, not the images."""
    kind = file.schema.field(column).type
    index = kind.get_field_index("path") if pa.types.is_struct(kind) else -1
    if index < 0 or not (
        pa.types.is_string(kind.field(index).type) or pa.types.is_large_string(kind.field(index).type)
    ):
        return None
    names: list[str | None] = read_texts(file, f"{column}.path").to_pylist()
    return names
