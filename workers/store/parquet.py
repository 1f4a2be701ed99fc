"""Parquet files of known columns: written with page checksums, read without trust.

Whatever a file claims is compared with what its place in the store allows, first the footer, then the header of every
page that is wanted, before Arrow allocates or decodes anything. So a hostile file cannot fill memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workers.errors import DamagedFileError, StoreError
from workers.store.pages import check_checksums, check_pages

MAX_FILE = 1 << 31
MAX_FOOTER = 8 << 20
MAX_TEXT = 1000
"""Characters of a text in a table; dictionaries would let a page of text grow without a trace in its header."""

_TAIL = 1 << 16
_GAP = 1 << 16
"""Ranges of a file that lie closer are read as one: a request costs more than these bytes."""
_THRIFT = {"thrift_string_size_limit": 1 << 20, "thrift_container_size_limit": 4096}
_SLACK = 1 << 16


@dataclass(frozen=True)
class Layout:
    """What a file in its place may hold: columns, values in each row's lists, number of rows."""

    schema: pa.Schema
    max_rows: int
    min_rows: int = 0
    widths: Mapping[str, int] = field(default_factory=dict)


def encode(table: pa.Table, metadata: dict[str, str], starts: Sequence[int] = (0,)) -> pa.Buffer:
    """Parquet bytes, zstd, with page checksums; `metadata` (keys get the prefix `longtail.`) goes into the footer.

    `starts` are the rows at which row groups begin, ascending from 0.
    """
    prefixed = {f"longtail.{key}": value for key, value in metadata.items()}
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **prefixed})
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema, compression="zstd", write_page_checksum=True) as writer:
        for start, stop in zip(starts, [*starts[1:], table.num_rows], strict=True):
            writer.write_table(table.slice(start, stop - start), row_group_size=max(1, stop - start))
    return sink.getvalue()


def metadata_of(schema: pa.Schema) -> dict[str, str]:
    """The metadata that `encode` wrote, without the prefix."""
    pairs = (
        (key.decode(errors="replace"), value.decode(errors="replace")) for key, value in (schema.metadata or {}).items()
    )
    return {key.removeprefix("longtail."): value for key, value in pairs if key.startswith("longtail.")}


class TableFile:
    """An open Parquet file. Every method raises DamagedFileError where the file is not what its layout allows.

    Bytes are fetched once: the footer, then the columns asked for, neighbours together.
    """

    def __init__(self, source: pa.NativeFile, layout: Layout) -> None:
        self.layout = layout
        self._bytes = _Ranges(source)
        self._file = _parse(self._bytes, [f.name for f in layout.schema if pa.types.is_string(f.type)])
        self._checked: set[tuple[int, str]] = set()
        self._check_footer()

    @property
    def num_rows(self) -> int:
        """Rows in the file."""
        return int(self._file.metadata.num_rows)

    @property
    def num_groups(self) -> int:
        """Row groups in the file."""
        return int(self._file.metadata.num_row_groups)

    @property
    def metadata(self) -> dict[str, str]:
        """What `encode` was given."""
        return metadata_of(self._file.schema_arrow)

    def read(self, group: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Some columns (None: all) of a row group."""
        names = self.layout.schema.names if columns is None else list(columns)
        self._fetch(group, names)
        with _damage_told():
            table = self._file.read_row_group(group, columns=names, use_threads=False)
            schema = pa.schema([self.layout.schema.field(name) for name in names], table.schema.metadata)
            return _without_dictionaries(table.select(names)).cast(schema)

    def groups(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The row groups, one after the other."""
        return (self.read(group, columns) for group in range(self.num_groups))

    def read_all(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Some columns (None: all) of every row."""
        tables = list(self.groups(columns))
        return pa.concat_tables(tables) if tables else self.layout.schema.empty_table().select(columns or slice(None))

    def _check_footer(self) -> None:
        found, layout = self._file.metadata, self.layout
        missing = set(layout.schema.names) - set(self._file.schema_arrow.names)
        if missing:
            raise DamagedFileError(f"has no column {', '.join(sorted(missing))}")
        theirs = [_plain(each) for each in self._file.schema_arrow]
        if found.num_columns != len(layout.schema) or theirs != list(layout.schema):
            raise DamagedFileError("has not the columns of its kind of file")
        if not layout.min_rows <= found.num_rows <= layout.max_rows:
            raise DamagedFileError(f"has {found.num_rows} rows, expected {layout.min_rows} to {layout.max_rows}")
        rows = [found.row_group(group).num_rows for group in range(found.num_row_groups)]
        if sum(rows) != found.num_rows or min(rows, default=0) < 0:
            raise DamagedFileError("is damaged: its row groups do not have its rows")

    def _fetch(self, group: int, names: Sequence[str]) -> None:
        """Bring the columns' bytes here, and look at what their pages claim."""
        wanted = [name for name in names if (group, name) not in self._checked]
        row_group = self._file.metadata.row_group(group)
        ranges = {}
        for name in wanted:
            position = self.layout.schema.get_field_index(name)
            ranges[name] = _range(row_group.column(position), self._bytes.size)
        self._bytes.fetch(list(ranges.values()))
        for name, (start, stop) in ranges.items():
            width = self.layout.widths.get(name, 1)
            values = row_group.num_rows * max(1, width)  # a list without elements takes a place too
            kind = self.layout.schema.field(name).type
            try:
                check_pages(self._bytes.view(start, stop), values, values * _value_bits(kind) // 8 + _SLACK)
            except DamagedFileError as error:
                raise DamagedFileError(f"column {name}: {error}") from error
            self._checked.add((group, name))


class _Ranges:
    """A file's bytes as far as they were fetched, at their places in zeroed memory that the system provides on use."""

    def __init__(self, source: pa.NativeFile) -> None:
        self._source = source
        self.size = int(source.size())
        if self.size > MAX_FILE:
            raise DamagedFileError(f"has {self.size} bytes, more than any file of a store")
        self._bytes = np.zeros(self.size, dtype=np.uint8)
        self._whole_from = self.size
        self._extend(max(0, self.size - _TAIL))

    def buffer(self) -> pa.Buffer:
        """All of it: what is fetched later shows here."""
        return pa.py_buffer(self._bytes)

    def view(self, start: int, stop: int) -> memoryview:
        """A fetched range."""
        return memoryview(self._bytes[start:stop])  # type: ignore[arg-type]

    def footer_size(self) -> int:
        """Bytes of the footer, which is fetched now."""
        if self.size < 12 or bytes(self.view(self.size - 4, self.size)) != b"PAR1":
            raise DamagedFileError("is damaged: is not a whole Parquet file")
        size = int.from_bytes(self.view(self.size - 8, self.size - 4), "little")
        if size > min(MAX_FOOTER, self.size - 12):
            raise DamagedFileError(f"is damaged: claims a footer of {size} bytes")
        self._extend(self.size - 8 - size)
        return size

    def fetch(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Bring some ranges, those that lie close to each other in one request."""
        start = stop = 0
        for begin, end in sorted(ranges):
            if begin > stop + _GAP:
                self._read(start, stop)
                start = begin
            stop = max(stop, end)
        self._read(start, stop)

    def _extend(self, start: int) -> None:
        if start < self._whole_from:
            end, self._whole_from = self._whole_from, start
            self._copy(start, end)

    def _read(self, start: int, stop: int) -> None:
        if start < min(stop, self._whole_from):
            self._copy(start, min(stop, self._whole_from))

    def _copy(self, start: int, stop: int) -> None:
        try:
            content = self._source.read_at(stop - start, start)
        except OSError as error:  # the place, not the file
            raise StoreError(f"cannot be read: {error}") from error
        if len(content) != stop - start:
            raise DamagedFileError("is damaged: is shorter than it was")
        self._bytes[start:stop] = np.frombuffer(content, dtype=np.uint8)


def verify_checksums(source: pa.NativeFile) -> None:
    """Compare every page of a Parquet file of any columns with its checksum. Raises DamagedFileError."""
    fetched = _Ranges(source)
    found = _parse(fetched, []).metadata
    for group in range(found.num_row_groups):
        for column in range(found.num_columns):
            start, stop = _range(found.row_group(group).column(column), fetched.size)
            fetched.fetch([(start, stop)])
            check_checksums(fetched.view(start, stop))


def _parse(fetched: _Ranges, dictionaries: list[str]) -> pq.ParquetFile:
    fetched.footer_size()
    with _damage_told():
        source = pa.BufferReader(fetched.buffer())
        return pq.ParquetFile(
            source, read_dictionary=dictionaries, page_checksum_verification=True, pre_buffer=False, **_THRIFT
        )


def _range(column: Any, size: int) -> tuple[int, int]:
    """Where a column chunk's bytes lie."""
    start = column.data_page_offset
    if column.has_dictionary_page and column.dictionary_page_offset is not None:
        start = min(start, column.dictionary_page_offset)
    stop = start + column.total_compressed_size
    if not 0 < start <= stop <= size:
        raise DamagedFileError("is damaged: a column lies outside of the file")
    return int(start), int(stop)


def _value_bits(kind: pa.DataType) -> int:
    """The most bits that a value takes in an unpacked page, its levels included; a text's are those of MAX_TEXT."""
    if pa.types.is_list(kind):
        return int(kind.value_type.bit_width) + 4
    return 8 * (MAX_TEXT + 4) if pa.types.is_string(kind) else int(kind.bit_width) + 8


def _plain(found: pa.Field) -> pa.Field:
    """The field, a dictionary of texts being texts."""
    kind = found.type
    return found.with_type(kind.value_type) if pa.types.is_dictionary(kind) else found


def _without_dictionaries(table: pa.Table) -> pa.Table:
    for position, name in enumerate(table.column_names):
        column = table.column(position)
        if pa.types.is_dictionary(column.type):
            longest = max(
                (pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0 for chunk in column.chunks), default=0
            )
            if longest > MAX_TEXT:
                raise DamagedFileError(f"column {name}: holds a text of {longest} bytes")
            table = table.set_column(position, name, column.cast(pa.string()))
    return table


@contextmanager
def _damage_told() -> Iterator[None]:
    """What Arrow says of bytes that it cannot decode, as a DamagedFileError."""
    try:
        yield
    except DamagedFileError:
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError) as error:
        raise DamagedFileError(f"is damaged: {(str(error).splitlines() or [type(error).__name__])[0]}") from error
