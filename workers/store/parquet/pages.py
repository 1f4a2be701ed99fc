"""Checks the page headers of a Parquet column before anything is decoded.

A page's header says how large it becomes, and a decoder believes it: a few bytes can claim gigabytes. Arrow cannot be
given a bound, so the headers are read here first: `PageHeader` in parquet.thrift
(https://github.com/apache/parquet-format).
"""

import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from workers.errors import DamagedFileError
from workers.store.parquet.thrift import number, read_struct

_DATA, _INDEX, _DICTIONARY, _DATA_V2 = range(4)
_PLAIN, _PLAIN_DICTIONARY, _RLE, _RLE_DICTIONARY = 0, 2, 3, 8
_ENCODINGS = {_PLAIN, _PLAIN_DICTIONARY, _RLE, _RLE_DICTIONARY}
"""Those that the store writes. Delta encodings can make long texts of nothing."""
ANY_ENCODING = frozenset(range(10))
"""Those of parquet.thrift."""

_MAX_HEADER = 1 << 16
_SUBHEADERS = {_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}
"""Field of a page header that holds what belongs to its kind."""
_ENCODING_FIELD = {_DATA: 2, _DICTIONARY: 2, _DATA_V2: 4}


@dataclass(frozen=True)
class Page:
    """A page's claims, and where its compressed bytes lie in the column chunk."""

    values: int
    is_dictionary: bool
    uncompressed_size: int
    start: int
    stop: int
    crc: int | None


def pages(chunk: memoryview, encodings: Collection[int] = _ENCODINGS) -> Iterator[Page]:
    """The pages of a column chunk's bytes. Raises DamagedFileError where they are not well-formed, or unusual."""
    at = 0
    while at < len(chunk):
        header, length = read_struct(bytes(chunk[at : at + _MAX_HEADER]))
        start = at + length
        kind = number(header.get(1))
        detail = header.get(_SUBHEADERS.get(kind, 0))
        if not isinstance(detail, dict):
            raise DamagedFileError("is damaged: has a page of no known kind")
        encoding = number(detail.get(_ENCODING_FIELD[kind]))
        if encoding not in encodings:
            raise DamagedFileError(f"has a page in unsupported encoding {encoding}")
        at = start + number(header.get(3))
        if at > len(chunk):
            raise DamagedFileError("is damaged: a page ends beyond its column")
        crc = header.get(4)
        size, values = number(header.get(2)), number(detail.get(1))
        yield Page(values, kind == _DICTIONARY, size, start, at, crc if isinstance(crc, int) else None)


def check_pages(chunk: memoryview, values: int, max_size: int) -> None:
    """Raise DamagedFileError unless a column chunk's pages hold so many values, and at most so many bytes unpacked."""
    num_values = size = 0
    for page in pages(chunk):
        size += page.uncompressed_size
        if page.is_dictionary:
            if page.values > values:
                raise DamagedFileError(f"claims a dictionary of {page.values} values for {values}")
        else:
            num_values += page.values
        if size > max_size:
            raise DamagedFileError(f"claims a column of more than {max_size} bytes, more than its rows can hold")
        if num_values > values:
            raise DamagedFileError(f"claims more than the {values} values that its rows have")
    if num_values != values:
        raise DamagedFileError(f"is damaged: has {num_values} values in a column of {values}")


def check_checksums(chunk: memoryview) -> None:
    """Raise DamagedFileError where a page's bytes are not those of its checksum. Unpacks nothing."""
    for page in pages(chunk):
        if page.crc is None or zlib.crc32(chunk[page.start : page.stop]) != page.crc & 0xFFFFFFFF:
            raise DamagedFileError("is damaged: a page does not match its checksum")
