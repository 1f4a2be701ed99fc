"""Names of the examples in Parquet files."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from workers.datasets.description import fitting_name
from workers.datasets.parquet_files import parquet_errors, read_column, read_schema
from workers.errors import DataError
from workers.specs import ParquetImages


def read_names(files: Sequence[Path], spec: ParquetImages) -> list[str] | None:
    """The names of a split's examples: a column that the specification names, or the images' own `path`; None: none.

    Raises DataError where the column is missing, or neither text nor whole numbers.
    """
    names: list[str] = []
    for file in files:
        found = _column_names(file, spec.name_column) if spec.name_column else _image_paths(file, spec.image_column)
        if found is None:
            return None
        names += [fitting_name(name or "") for name in found]
    return names if any(names) else None


def _column_names(file: Path, column: str) -> list[str | None]:
    schema = read_schema(file)
    if schema.names.count(column) != 1:
        raise DataError(f"dataset.name_column: {file} has the columns {', '.join(schema.names)}, got {column!r}")
    kind = schema.field(column).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise DataError(f"dataset.name_column: {column!r} of {file} must be text or whole numbers, got {kind}")
    values: list[str | None] = read_column(file, column).cast(pa.large_string()).to_pylist()
    return values


def _image_paths(file: Path, column: str) -> list[str | None] | None:
    """The `path` of each image; None where the column has none. Decodes paths alone, not the images."""
    kind = read_schema(file).field(column).type
    index = kind.get_field_index("path") if pa.types.is_struct(kind) else -1
    if index < 0 or not (
        pa.types.is_string(kind.field(index).type) or pa.types.is_large_string(kind.field(index).type)
    ):
        return None
    with parquet_errors(file), pq.ParquetFile(file) as opened:
        table = opened.read(columns=[f"{column}.path"])
    return [None if row is None else row.get("path") for row in table.column(0).to_pylist()]
