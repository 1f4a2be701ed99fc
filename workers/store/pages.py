"""Walks the pages of a Parquet column before anything is decoded.

A page's header says how large it becomes, and a decoder believes it: a few bytes can claim gigabytes. Arrow cannot be
given a bound, so the headers are read here first. They are thrift structs in the compact protocol; the layout is
`PageHeader` in parquet.thrift (https://github.com/apache/parquet-format).
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from workers.errors import DamagedFileError

_DATA, _INDEX, _DICTIONARY, _DATA_V2 = range(4)
_PLAIN, _PLAIN_DICTIONARY, _RLE, _RLE_DICTIONARY = 0, 2, 3, 8
_ENCODINGS = {_PLAIN, _PLAIN_DICTIONARY, _RLE, _RLE_DICTIONARY}
"""Those that the store writes. Delta encodings can make long texts of nothing."""

_MAX_HEADER = 1 << 16
_MAX_DEPTH = 4
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


def pages(chunk: memoryview) -> Iterator[Page]:
    """The pages of a column chunk's bytes. Raises DamagedFileError where they are not well-formed, or unusual."""
    at = 0
    while at < len(chunk):
        header, start = _read_header(chunk, at)
        kind, size, compressed = (header.get(field) for field in (1, 2, 3))
        if kind not in _SUBHEADERS or not isinstance(size, int) or not isinstance(compressed, int):
            raise DamagedFileError("is damaged: has a page of no known kind")
        detail = header.get(_SUBHEADERS[kind])
        values = detail.get(1) if isinstance(detail, dict) else None
        if not isinstance(detail, dict) or not isinstance(values, int) or min(values, size, compressed) < 0:
            raise DamagedFileError("is damaged: has a page header that makes no sense")
        if detail.get(_ENCODING_FIELD[kind]) not in _ENCODINGS:
            raise DamagedFileError(f"has a page in encoding {detail.get(_ENCODING_FIELD[kind])}, which no store has")
        at = start + compressed
        if at > len(chunk):
            raise DamagedFileError("is damaged: a page ends beyond its column")
        crc = header.get(4)
        yield Page(values, kind == _DICTIONARY, size, start, at, crc if isinstance(crc, int) else None)


def check_pages(chunk: memoryview, values: int, max_size: int) -> None:
    """Raise DamagedFileError unless a column chunk's pages hold so many values, and at most so many bytes unpacked."""
    found = size = 0
    for page in pages(chunk):
        size += page.uncompressed_size
        if page.is_dictionary:
            if page.values > values:
                raise DamagedFileError(f"claims a dictionary of {page.values} values for {values}")
        else:
            found += page.values
        if size > max_size:
            raise DamagedFileError(f"claims a column of more than {max_size} bytes, which its rows cannot take")
        if found > values:
            raise DamagedFileError(f"claims more than the {values} values that its rows have")
    if found != values:
        raise DamagedFileError(f"is damaged: has {found} values in a column of {values}")


def check_checksums(chunk: memoryview) -> None:
    """Raise DamagedFileError where a page's bytes are not those of its checksum. Unpacks nothing."""
    for page in pages(chunk):
        if page.crc is None or zlib.crc32(chunk[page.start : page.stop]) != page.crc & 0xFFFFFFFF:
            raise DamagedFileError("is damaged: a page does not have the content of its checksum")


def _read_header(chunk: memoryview, at: int) -> tuple[dict[int, Any], int]:
    """A page header's fields by number, and where it ends."""
    window = bytes(chunk[at : at + _MAX_HEADER])
    try:
        fields, end = _struct(window, 0, 0)
    except IndexError as error:
        raise DamagedFileError("is damaged: a page header has no end") from error
    return fields, at + end


def _struct(data: bytes, at: int, depth: int) -> tuple[dict[int, Any], int]:
    if depth > _MAX_DEPTH:
        raise DamagedFileError("is damaged: a page header is nested")
    fields: dict[int, Any] = {}
    number = 0
    while (head := data[at]) != 0:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _zigzag(data, at)
        fields[number], at = _value(data, at, head & 15, depth)
    return fields, at + 1


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    """A field's value: 1 and 2 are truth values, 3 a byte, 4 to 6 integers, 7 a double, 8 bytes, 12 a struct."""
    if kind in (1, 2):
        return kind == 1, at
    if kind == 3:
        return data[at], at + 1
    if kind in (4, 5, 6):
        return _zigzag(data, at)
    if kind == 7:
        return None, at + 8
    if kind == 8:
        length, at = _varint(data, at)
        return (
            None,
            at + length,
        )  # statistics: what lies there is of no interest, and a wrong end shows at the next byte
    if kind == 12:
        return _struct(data, at, depth + 1)
    raise DamagedFileError("is damaged: a page header holds what no page header holds")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        octet = data[at]
        at += 1
        number |= (octet & 127) << shift
        shift += 7
        if octet < 128:
            return number, at
        if shift > 63:
            raise DamagedFileError("is damaged: a page header holds a number without end")


def _zigzag(data: bytes, at: int) -> tuple[int, int]:
    number, at = _varint(data, at)
    return (number >> 1) ^ -(number & 1), at
