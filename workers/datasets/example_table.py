"""Reads tables with one row per training example: Parquet, CSV or npz.

Rows are told by a column `example_id`, in any order; without one they are in canonical order.
"""

import io
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from workers.datasets.parquet_files import MAX_ROWS, open_parquet, read_values
from workers.errors import CampaignError, DamagedDataError, DataError
from workers.store.files.base import open_files
from workers.store.npz import read_vectors

_ID = "example_id"
_MAX_BYTES = 512 << 20
_MAX_CSV_BYTES = 128 << 20
"""Bytes of a CSV file: each digit may become a number of eight bytes."""
_MAX_CSV_HEADER = 1 << 20
_MAX_CSV_COLUMNS = 10_000
"""Of a CSV file: each takes a kilobyte, with or without values."""


def read_content(place: str, field: str) -> pa.Buffer:
    """The bytes of a file at a path or URI, which the campaign's field names. Raises CampaignError, StoreError."""
    # A URI's options (?region=...) belong to the place, not to the name in it.
    path, mark, options = place.partition("?") if "://" in place else (place, "", "")
    folder, slash, name = path.rpartition("/")
    file = open_files(f"{folder or slash or '.'}{mark}{options}").open(name)
    if file is None:
        raise CampaignError(f"{field}.file: {place}: there is no such file")
    with file:
        if file.size() > _MAX_BYTES:
            raise CampaignError(f"{field}.file: {place}: has {file.size():,} bytes, at most {_MAX_BYTES:,} are read")
        return file.read_buffer()


class ExampleTable:
    """A table, the place that it was read from, and the campaign's field that names it (such as subsets.scores)."""

    def __init__(self, table: pa.Table, place: str, field: str, others: Sequence[str] = ()) -> None:
        """`others` are names of columns that were not read."""
        self.table, self.place, self.field, self.others = table, place, field, others

    @classmethod
    def read(cls, place: str, field: str, columns: Sequence[str], npz_column: str) -> "ExampleTable":
        """The table at a path or URI: Parquet or npz, by its first bytes, or else CSV. Of Parquet these columns and the
        ids, of npz the array `npz_column`, nothing unpickled. Raises CampaignError, StoreError.
        """
        content = read_content(place, field)
        others: list[str] = []
        start = content.slice(0, min(4, content.size)).to_pybytes()
        try:
            if start == b"PAR1":
                table, others = _parquet(content, place, {*columns, _ID})
            elif start == b"PK\x03\x04":
                vectors = read_vectors(io.BytesIO(content), {npz_column: MAX_ROWS}, place)
                table = pa.table(vectors)
            else:
                table = _csv(content, place)
        except DamagedDataError as error:
            raise CampaignError(f"{field}.file: {error}") from error
        except DataError as error:
            raise CampaignError(f"{field}.column: {error}") from error
        except (OSError, pa.ArrowException) as error:
            reason = " ".join(str(error).split())[:200]
            text = f"is neither Parquet, nor CSV, nor npz that can be read: {reason}"
            raise CampaignError(f"{field}.file: {place}: {text}") from error
        names = [*table.column_names, *others]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise CampaignError(f"{field}.file: {place}: has the column {twice} twice")
        return cls(table, place, field, others)

    def column(self, name: str) -> pa.ChunkedArray:
        """Raises CampaignError where there is none of that name."""
        if name not in self.table.column_names:
            raise self.mistake(
                "column", f"has no column {name!r}, only {', '.join([*self.table.column_names, *self.others])}"
            )
        return self.table[name]

    def ids(self, num_train: int) -> npt.NDArray[np.int64]:
        """int64[N], which example each row is of. Raises CampaignError unless each is there once."""
        table = self.table
        if _ID not in table.column_names:
            if len(table) != num_train:
                text = f"must have a row for each of {num_train} training examples, got {len(table)}"
                raise self.mistake("file", f"without a column {_ID} {text}")
            return np.arange(num_train)
        column = table[_ID]
        if not pa.types.is_integer(column.type) or column.null_count:
            raise self.mistake("file", f"column {_ID} must hold whole numbers, got {column.type}")
        must = f"column {_ID} must hold each of 0 to {num_train - 1} once"
        outside = table.filter(pc.or_(pc.less(column, 0), pc.greater_equal(column, num_train)))
        if len(outside):
            raise self.mistake("file", f"{must}, got {outside[_ID][0].as_py()}")
        ids: npt.NDArray[np.int64] = column.to_numpy().astype(np.int64)
        times = np.bincount(ids, minlength=num_train)
        wrong = np.flatnonzero(times != 1)
        if len(wrong):
            raise self.mistake("file", f"{must}, got {wrong[0]} {times[wrong[0]]} times")
        return ids

    def mistake(self, field: str, text: str) -> CampaignError:
        """An error about the table that names one of its fields."""
        return CampaignError(f"{self.field}.{field}: {self.place}: {text}")


def _parquet(content: pa.Buffer, place: str, requested: Collection[str]) -> tuple[pa.Table, list[str]]:
    """Of the columns of a Parquet file those that are requested, and the names of the others. Raises DataError."""
    file = open_parquet(content, place)
    names = file.schema.names
    read = [name for name in names if name in requested and names.count(name) == 1]
    return pa.table({name: read_values(file, name) for name in read}), [name for name in names if name not in read]


def _csv(content: pa.Buffer, place: str) -> pa.Table:
    """Raises DataError where a CSV file is larger than its rows can be."""
    if content.size > _MAX_CSV_BYTES:
        raise DataError(
            f"{place}: has {content.size:,} bytes, at most {_MAX_CSV_BYTES:,} of CSV are read: give Parquet"
        )
    header = content.slice(0, min(_MAX_CSV_HEADER, content.size)).to_pybytes().partition(b"\n")[0]
    if header.count(b",") >= _MAX_CSV_COLUMNS or len(header) == _MAX_CSV_HEADER:
        raise DataError(f"{place}: must have at most {_MAX_CSV_COLUMNS:,} columns")
    return pacsv.read_csv(pa.BufferReader(content))
