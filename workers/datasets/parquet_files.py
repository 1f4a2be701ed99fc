"""Parquet files: which there are, their schema, one column at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from workers.errors import DataError

_ROWS_AT_ONCE = 256


def list_files(field: str, where: str) -> list[Path]:
    """A file, or a folder's `*.parquet` in sorted order, as absolute paths. Raises DataError where there is none."""
    path = Path(where).expanduser().absolute()
    if path.is_file():
        return [path]
    found = sorted(each for each in path.glob("*.parquet") if not each.name.startswith((".", "_")))
    if not found:
        raise DataError(f"dataset.{field}: must be a Parquet file or a folder with *.parquet files, got {path}")
    return found


def read_schema(file: Path) -> pa.Schema:
    """A file's schema. Raises DataError where the file is damaged or not Parquet."""
    with parquet_errors(file):
        return pq.read_schema(file)


def read_column(file: Path, column: str) -> pa.ChunkedArray:
    """A whole column. Raises DataError."""
    with parquet_errors(file), pq.ParquetFile(file) as opened:
        return opened.read(columns=[column]).column(0)


def iterate_column(file: Path, column: str) -> Iterator[pa.Array]:
    """A column in blocks, of which one is in memory. Raises DataError."""
    with parquet_errors(file), pq.ParquetFile(file) as opened:
        for batch in opened.iter_batches(_ROWS_AT_ONCE, columns=[column]):
            yield batch.column(0)


@contextmanager
def parquet_errors(file: Path) -> Iterator[None]:
    """pyarrow's errors as a DataError in one line."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{file}: cannot be read as Parquet ({reason})") from error
