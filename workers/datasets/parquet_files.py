"""Reads columns of untrusted Parquet files in blocks of bounded size.

A page's header says how large it becomes, a dictionary's value may stand in every row, and a decoder believes both: a
file of a few megabytes can claim terabytes. So the footer and the headers of the pages to read are read first, and
blocks have so few rows that as many of the largest values that a page can hold stay below a bound.
"""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workers.common.regular_file import open_regular
from workers.errors import DamagedDataError, DamagedFileError, DataError
from workers.store.parquet.footer import Footer, read_footer
from workers.store.parquet.pages import ANY_ENCODING, pages
from workers.store.parquet.table_file import MAX_TEXT, MAX_TEXTS

MAX_ROWS = 1 << 24
"""Of a file, and of a split."""
MAX_FOOTER = 16 << 20
MAX_PAGE = 512 << 20
"""Bytes of a page, unpacked: pyarrow puts 1,024 images into one where row groups are larger than that."""
_BLOCK_BYTES = 256 << 20
"""Bytes of a block, or of its one row."""
_MAX_BLOCK_ROWS = 1 << 16
_BUFFER = 1 << 20
_TAIL = 8
_LIMITS = {"thrift_string_size_limit": MAX_FOOTER, "thrift_container_size_limit": 1 << 20}


@dataclass(frozen=True)
class ParquetFile:
    """A file whose footer is that of a Parquet file of its size, with a bounded number of rows."""

    path: Path | str
    """What messages call it."""
    content: Path | pa.Buffer
    footer: Footer
    schema: pa.Schema
    leaves: tuple[str, ...]
    """Paths of the columns that hold values, as `image.bytes`, in the order of the file."""

    @property
    def rows(self) -> int:
        """Its number of rows."""
        return self.footer.rows

    def blocks(self, leaf: str, most_rows: int = _MAX_BLOCK_ROWS) -> Iterator[pa.Array]:
        """The values of a leaf that is in no list, in blocks of at most so many rows, each with the struct it is in.

        Raises DataError where its pages claim more than a block may take, or are not those of its rows.
        """
        with parquet_errors(self.path), _bytes_of(self.content) as content:
            largest = self._check_pages(content, leaf)
            fixed = self._is_fixed_size(leaf)
            rows = most_rows if fixed else max(1, min(most_rows, _BLOCK_BYTES // max(1, largest)))
            options = {"pre_buffer": False, "buffer_size": _BUFFER}
            with pq.ParquetFile(self.content, **options, **_LIMITS) as opened:
                for batch in opened.iter_batches(rows, columns=[leaf], use_threads=False):
                    yield batch.column(0)

    def list_blocks(self, name: str, width: int, most_rows: int) -> Iterator[npt.NDArray[np.generic]]:
        """The values of a column of lists of numbers or truth values, `width` a row, flat, of some rows at a time.

        Raises DataError where it is no such column, or its pages claim more than its rows have.
        """
        kind = self.schema.field(name).type
        lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        if not lists or not pa.types.is_primitive(kind.value_type):
            raise DataError(f"{self.path}: column {name!r} must hold lists of numbers or truth values, got {kind}")
        leaf = next(each for each in self.leaves if each.startswith(f"{name}."))
        with parquet_errors(self.path), _bytes_of(self.content) as content:
            self._check_pages(content, leaf, width)
            with pq.ParquetFile(self.content, pre_buffer=False, buffer_size=_BUFFER, **_LIMITS) as opened:
                for batch in opened.iter_batches(most_rows, columns=[leaf], use_threads=False):
                    column = batch.column(0)
                    values = column.flatten()
                    lengths = pc.list_value_length(column)
                    if column.null_count or values.null_count or pc.any(pc.not_equal(lengths, width)).as_py():
                        raise DataError(f"{self.path}: column {name!r} must have {width:,} values in each row")
                    yield values.to_numpy(zero_copy_only=False)

    def _is_fixed_size(self, leaf: str) -> bool:
        kind = self.schema.field(leaf).type if leaf in self.schema.names else None
        return kind is not None and (pa.types.is_primitive(kind) or pa.types.is_boolean(kind))

    def _check_pages(self, content: memoryview, leaf: str, width: int = 1) -> int:
        """The bytes of the largest page of a leaf with `width` values in each row, unpacked."""
        largest = 0
        at = [number for number, name in enumerate(self.leaves) if name == leaf]
        if len(at) != 1:
            raise DataError(f"{self.path}: has no column {leaf!r} of plain values")
        for number, group in enumerate(self.footer.groups):
            chunk = group.chunks[at[0]]
            with content[chunk.start : chunk.stop] as there:
                page_bytes = _largest_page(
                    there, group.rows * width, f"{self.path}: column {leaf!r}, row group {number}"
                )
            largest = max(largest, page_bytes)
        return largest


def open_parquet(content: Path | pa.Buffer, name: str | None = None, max_rows: int = MAX_ROWS) -> ParquetFile:
    """Read the footer of a file, or of a file's bytes, which messages call `name`.

    Raises DataError where it is damaged, not Parquet, or claims too many rows.
    """
    path = name or str(content)
    with parquet_errors(path), _bytes_of(content) as view:
        size = len(view)
        length = int.from_bytes(view[-_TAIL:-4], "little")
        if size < 12 or bytes(view[-4:]) != b"PAR1" or length > size - 12:
            raise DamagedFileError("is not a whole Parquet file")
        if length > MAX_FOOTER:
            raise DamagedFileError(f"claims a footer of {length:,} bytes, at most {MAX_FOOTER:,} are read")
        footer = read_footer(bytes(view[size - _TAIL - length : size - _TAIL]), size)
        if footer.rows > max_rows:
            raise DataError(f"{path}: claims {footer.rows:,} rows, at most {max_rows:,} are read")
        with pq.ParquetFile(content, **_LIMITS) as opened:
            schema = opened.schema_arrow
            leaves = tuple(opened.schema.column(number).path for number in range(len(opened.schema.names)))
    if any(len(group.chunks) != len(leaves) for group in footer.groups):
        raise DamagedDataError(f"{path}: is damaged: its row groups do not have its columns")
    return ParquetFile(content if isinstance(content, Path) else path, content, footer, schema, leaves)


@contextmanager
def _bytes_of(content: Path | pa.Buffer) -> Iterator[memoryview]:
    """A file's bytes, of which the system reads those that are looked at."""
    if isinstance(content, pa.Buffer):
        yield memoryview(content)
    elif content.is_file() and content.stat().st_size == 0:
        raise DamagedFileError("is empty, 0 bytes")
    else:
        with (
            open_regular(content) as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as view,
        ):
            yield view


def _largest_page(chunk: memoryview, expected: int, where: str) -> int:
    """Bytes of the largest page, unpacked. Raises DataError where one is too large, or they have not as many values."""
    largest = num_values = 0
    try:
        for page in pages(chunk, ANY_ENCODING):
            largest = max(largest, page.uncompressed_size)
            if page.uncompressed_size > MAX_PAGE:
                raise DataError(
                    f"{where}: claims a page of {page.uncompressed_size:,} bytes, at most {MAX_PAGE:,} are read: "
                    "write the file anew with row groups of 100 rows"
                )
            if page.is_dictionary:
                if page.values > page.uncompressed_size:  # each takes a byte or more
                    raise DamagedFileError(f"claims {page.values:,} values in {page.uncompressed_size:,} bytes")
            else:
                num_values += page.values
        if num_values != expected:
            raise DamagedFileError(
                f"has {num_values:,} values where {expected:,} are expected: lists of another length, or damaged"
            )
    except DamagedFileError as error:
        raise DamagedDataError(f"{where}: {error}") from error
    return largest


def read_values(file: ParquetFile, name: str) -> pa.Array:
    """A column of numbers, truth values or texts as one array. Raises DataError where it is of another type."""
    kind = file.schema.field(name).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return read_texts(file, name)
    if not pa.types.is_primitive(kind):
        raise DataError(f"{file.path}: column {name!r} must hold numbers or texts, got {kind}")
    with parquet_errors(file.path):
        return pa.concat_arrays([pa.array([], kind), *(block.cast(kind) for block in file.blocks(name))])


def read_texts(file: ParquetFile, leaf: str) -> pa.Array:
    """A leaf of texts as one array of large_string. Raises DataError where a text, or all of them, are too long."""
    text_blocks, size = [pa.array([], pa.large_string())], 0
    for block in _values(file, leaf):
        lengths = _lengths(block)
        longest, size = pc.max(lengths).as_py() or 0, size + (pc.sum(lengths).as_py() or 0)
        if longest > MAX_TEXT or size > MAX_TEXTS:
            raise DataError(
                f"{file.path}: column {leaf!r} must hold texts of at most {MAX_TEXT:,} bytes, {MAX_TEXTS:,} in all, "
                f"got {longest:,}, {size:,} in all"
            )
        text_blocks.append(block.cast(pa.large_string()))
    return pa.concat_arrays(text_blocks)


def _lengths(texts: pa.Array) -> pa.Array:
    """Bytes of each text; of a dictionary's, without writing them out."""
    if pa.types.is_dictionary(texts.type):
        return pc.take(pc.binary_length(texts.dictionary), texts.indices)
    return pc.binary_length(texts)


def read_integers(file: ParquetFile, leaf: str) -> pa.Array:
    """A leaf of integers as one array of int64. Raises DataError."""
    with parquet_errors(file.path):
        return pa.concat_arrays([pa.array([], pa.int64()), *(block.cast(pa.int64()) for block in _values(file, leaf))])


def _values(file: ParquetFile, leaf: str) -> Iterator[pa.Array]:
    """A leaf's blocks, those of a struct without the struct."""
    for block in file.blocks(leaf):
        values = block.field(0) if pa.types.is_struct(block.type) else block
        # Of a struct that is missing, so is the value.
        yield values if values is block or not block.null_count else pc.if_else(block.is_valid(), values, None)


@contextmanager
def parquet_errors(file: Path | str) -> Iterator[None]:
    """pyarrow's errors, and damage found before pyarrow is asked, as a DataError in one line."""
    try:
        yield
    except DamagedFileError as error:
        raise DamagedDataError(f"{file}: cannot be read as Parquet ({error})") from error
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise DamagedDataError(f"{file}: cannot be read as Parquet ({reason})") from error
