"""Parquet files: their schema, one column at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from workers.errors import DamagedDataError

_ROWS_AT_ONCE = 256


def read_schema(file: Path) -> pa.Schema:
    """A file's schema. Raises DataError where the file is damaged or not Parquet."""
    with parquet_errors(file):
        return pq.read_schema(file)


def count_rows(file: Path) -> int:
    """A file's number of rows. Raises DataError where the file is damaged or not Parquet."""
    with parquet_errors(file):
        return int(pq.read_metadata(file).num_rows)


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
        raise DamagedDataError(f"{file}: cannot be read as Parquet ({reason})") from error
