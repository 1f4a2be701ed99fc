"""Parses a Parquet footer (`FileMetaData` in parquet.thrift): row groups and column chunks."""

from dataclasses import dataclass

from workers.errors import DamagedFileError
from workers.store.parquet.thrift import Struct, number, read_struct


@dataclass(frozen=True)
class Chunk:
    """A column's bytes in a row group: pages, from start to stop in the file."""

    values: int
    start: int
    stop: int


@dataclass(frozen=True)
class RowGroup:
    """Its rows, and its columns' chunks in the order of the schema."""

    rows: int
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True)
class Footer:
    """All row groups; they have the same number of columns and lie within the file."""

    rows: int
    groups: tuple[RowGroup, ...]


def read_footer(content: bytes, file_size: int) -> Footer:
    """Read a footer's bytes. Raises DamagedFileError where it does not describe a file of that size."""
    fields, _ = read_struct(content)
    try:
        groups = tuple(_row_group(group, file_size) for group in fields[4])
        rows = number(fields[3])
    except (KeyError, TypeError, AttributeError) as error:
        raise DamagedFileError("is damaged: its footer is not one of a Parquet file") from error
    if sum(group.rows for group in groups) != rows:
        raise DamagedFileError("is damaged: its row groups do not have its rows")
    return Footer(rows, groups)


def _row_group(fields: Struct, file_size: int) -> RowGroup:
    return RowGroup(number(fields[3]), tuple(_chunk(column, file_size) for column in fields[1]))


def _chunk(fields: Struct, file_size: int) -> Chunk:
    if 1 in fields:
        raise DamagedFileError("has a column in another file")
    column = fields[3]
    start = number(column.get(11, 0)) or number(column[9])  # a dictionary comes first
    stop = start + number(column[7])
    if not 0 <= start <= stop <= file_size:
        raise DamagedFileError("is damaged: a column lies outside of the file")
    return Chunk(number(column[5]), start, stop)
