"""Parquet files of a known schema: written with page checksums, validated when they are read.

Whatever a file claims is compared with what its place in the store allows, first the footer, then the header of every
page that is requested, before Arrow allocates or decodes anything. So a hostile file cannot fill memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workers.errors import DamagedFileError, StoreError
from workers.store.parquet.footer import Footer, read_footer
from workers.store.parquet.pages import check_checksums, check_pages

MAX_FILE = 1 << 31
MAX_FOOTER = 2 << 20
MAX_TEXT = 1000
"""Characters of a text in a table; dictionaries would let a page of text grow without a trace in its header."""

_TAIL = 1 << 16
_GAP = 1 << 16
"""Ranges of a file that lie closer are read as one: a request costs more than these bytes."""
_THRIFT = {"thrift_string_size_limit": 1 << 20, "thrift_container_size_limit": 4096}
_SLACK = 1 << 16
MAX_TEXTS = 1 << 28
"""Bytes of all texts of a column, names of examples most of all."""


@dataclass(frozen=True)
class Layout:
    """The allowed content of a file: columns, values in each row's lists, number of rows."""

    schema: pa.Schema
    max_rows: int
    min_rows: int = 0
    widths: Mapping[str, int] = field(default_factory=dict)
    optional: Sequence[pa.Field] = ()
    """Columns that may follow, in their order; an older store has none of them."""


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

    Bytes are fetched once: the footer, then the columns requested, neighbours together.
    """

    def __init__(self, source: pa.NativeFile, layout: Layout) -> None:
        self.layout = layout
        self._bytes = _Ranges(source)
        self._footer = self._bytes.footer()
        self._checked: set[tuple[int, str]] = set()
        self._kept: pa.Table | None = None
        self._check_footer()
        self._file = self._parse()

    @property
    def num_rows(self) -> int:
        """Rows in the file."""
        return self._footer.rows

    @property
    def num_groups(self) -> int:
        """Row groups in the file."""
        return len(self._footer.groups)

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata that `encode` was given."""
        return metadata_of(self._file.schema_arrow)

    def read(self, group: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Some columns (None: all) of a row group."""
        names = self.layout.schema.names if columns is None else list(columns)
        if self._kept is not None:
            return self._kept.select(names)
        self._fetch(group, names)
        with _wrap_arrow_errors():
            table = self._file.read_row_group(group, columns=names, use_threads=False)
            schema = pa.schema([self.layout.schema.field(name) for name in names], table.schema.metadata)
            return _without_dictionaries(table.select(names)).cast(schema)

    def keep(self) -> None:
        """Decode the columns once for all that follows, where there is but one row group."""
        if self.num_groups == 1:
            self._kept = self.read(0)

    def groups(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The row groups, one after the other."""
        return (self.read(group, columns) for group in range(self.num_groups))

    def read_all(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Some columns (None: all) of every row."""
        tables = list(self.groups(columns))
        return pa.concat_tables(tables) if tables else self.layout.schema.empty_table().select(columns or slice(None))

    def _check_footer(self) -> None:
        """Before Arrow sees it."""
        layout = self.layout
        least, most = len(layout.schema), len(layout.schema) + len(layout.optional)
        if any(not least <= len(group.chunks) <= most for group in self._footer.groups):
            raise DamagedFileError("has unexpected columns")
        if not layout.min_rows <= self._footer.rows <= layout.max_rows:
            raise DamagedFileError(f"has {self._footer.rows} rows, expected {layout.min_rows} to {layout.max_rows}")

    def _parse(self) -> pq.ParquetFile:
        with _wrap_arrow_errors():
            source = pa.BufferReader(self._bytes.buffer())
            there = pq.ParquetFile(source, **_THRIFT)
            texts = [each.name for each in there.schema_arrow if pa.types.is_string(each.type)]
            checked = {"page_checksum_verification": True, "pre_buffer": False}
            file = pq.ParquetFile(source, metadata=there.metadata, read_dictionary=texts, **checked, **_THRIFT)
        fields, required = [_plain(each) for each in file.schema_arrow], list(self.layout.schema)
        further = [each for each in self.layout.optional if each in fields[len(required) :]]
        if fields != required + further or any(len(group.chunks) != len(fields) for group in self._footer.groups):
            raise DamagedFileError("has unexpected columns")
        self.layout = replace(self.layout, schema=pa.schema(fields))
        return file

    def _fetch(self, group: int, names: Sequence[str]) -> None:
        """Bring the columns' bytes here, and look at what their pages claim."""
        row_group, schema = self._footer.groups[group], self.layout.schema
        requested = [name for name in names if (group, name) not in self._checked]
        chunks = {name: row_group.chunks[schema.get_field_index(name)] for name in requested}
        self._bytes.fetch([(chunk.start, chunk.stop) for chunk in chunks.values()])
        for name, chunk in chunks.items():
            # A list without elements takes the place of a value.
            values = row_group.rows * max(1, self.layout.widths.get(name, 1))
            try:
                if chunk.values != values:
                    raise DamagedFileError(f"has {chunk.values} values, expected {values}")
                size = values * _value_bits(schema.field(name).type) // 8 + _SLACK
                if pa.types.is_string(schema.field(name).type):
                    size = min(size, 8 * values + MAX_TEXTS + _SLACK)
                check_pages(self._bytes.view(chunk.start, chunk.stop), values, size)
            except DamagedFileError as error:
                raise DamagedFileError(f"column {name}: {error}") from error
            self._checked.add((group, name))


class _Ranges:
    """A file's bytes as far as they were fetched, at their places in zeroed memory that the system provides on use."""

    def __init__(self, source: pa.NativeFile) -> None:
        self._source = source
        self.size = int(source.size())
        if self.size > MAX_FILE:
            raise DamagedFileError(f"has {self.size} bytes, more than the limit for store files")
        self._bytes = np.zeros(self.size, dtype=np.uint8)
        self._whole_from = self.size
        self._extend(max(0, self.size - _TAIL))

    def buffer(self) -> pa.Buffer:
        """The whole file; ranges that are fetched later appear in it."""
        return pa.py_buffer(self._bytes)

    def view(self, start: int, stop: int) -> memoryview:
        """A fetched range."""
        return memoryview(self._bytes[start:stop])  # type: ignore[arg-type]

    def footer(self) -> Footer:
        """Fetch and parse the footer."""
        if self.size < 12 or bytes(self.view(self.size - 4, self.size)) != b"PAR1":
            raise DamagedFileError("is damaged: is not a whole Parquet file")
        size = int.from_bytes(self.view(self.size - 8, self.size - 4), "little")
        if size > min(MAX_FOOTER, self.size - 12):
            raise DamagedFileError(f"is damaged: claims a footer of {size} bytes")
        self._extend(self.size - 8 - size)
        return read_footer(bytes(self.view(self.size - 8 - size, self.size - 8)), self.size)

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
        except StoreError:
            raise
        except OSError as error:  # the place, not the file
            raise StoreError(f"cannot be read: {error}") from error
        if len(content) != stop - start:
            raise DamagedFileError("is damaged: is shorter than it was")
        self._bytes[start:stop] = np.frombuffer(content, dtype=np.uint8)


def verify_checksums(source: pa.NativeFile) -> None:
    """Compare every page of a Parquet file of any columns with its checksum. Raises DamagedFileError."""
    fetched = _Ranges(source)
    for group in fetched.footer().groups:
        for chunk in group.chunks:
            fetched.fetch([(chunk.start, chunk.stop)])
            check_checksums(fetched.view(chunk.start, chunk.stop))


def _value_bits(kind: pa.DataType) -> int:
    """The most bits that a value takes in an unpacked page, its levels included; a text's are those of MAX_TEXT."""
    if pa.types.is_list(kind):
        return int(kind.value_type.bit_width) + 4
    return 8 * (MAX_TEXT + 4) if pa.types.is_string(kind) else int(kind.bit_width) + 8


def _plain(field: pa.Field) -> pa.Field:
    """The field, a dictionary of texts being texts."""
    kind = field.type
    return field.with_type(kind.value_type) if pa.types.is_dictionary(kind) else field


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
def _wrap_arrow_errors() -> Iterator[None]:
    """What Arrow says of bytes that it cannot decode, as a DamagedFileError."""
    try:
        yield
    except StoreError:  # damage that was told before; or the place did not answer, which says nothing about the file
        raise
    except KeyError as error:
        raise DamagedFileError(f"has no column {error.args[0].decode(errors='replace')}") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError) as error:
        raise DamagedFileError(f"is damaged: {(str(error).splitlines() or [type(error).__name__])[0]}") from error
