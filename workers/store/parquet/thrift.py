"""Parses thrift structs in the compact protocol, as in Parquet's footers and page headers.

Arrow's own reader is not asked: some of its footer's accessors end the process at a damaged byte (pyarrow 26,
`RowGroupMetaData.column`: "terminate called after throwing an instance of 'parquet::ParquetException'"), and its page
headers cannot be reached. Protocol: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from typing import Any

from workers.errors import DamagedFileError

MAX_DEPTH = 12

Struct = dict[int, Any]
"""A struct's fields by number: truth values, integers, bytes, lists and structs; None for what is not needed."""

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)


def read_struct(data: bytes, at: int = 0) -> tuple[Struct, int]:
    """The struct that starts at a place, and where it ends. Raises DamagedFileError where the bytes are none."""
    try:
        return _struct(data, at, MAX_DEPTH)
    except IndexError as error:
        raise DamagedFileError("is damaged: a header is truncated") from error


def number(value: Any) -> int:
    """A field that must be a count or a place: an integer from 0 on. Raises DamagedFileError."""
    if type(value) is not int or value < 0:
        raise DamagedFileError("is damaged: a header has an invalid number")
    return value


def _struct(data: bytes, at: int, depth: int) -> tuple[Struct, int]:
    if depth == 0:
        raise DamagedFileError("is damaged: a header is nested too deeply")
    fields: Struct = {}
    number = 0
    while (head := data[at]) != 0:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _integer(data, at)
        kind = head & 15
        if kind <= _FALSE:
            fields[number] = kind == _TRUE
        else:
            fields[number], at = _value(data, at, kind, depth)
    return fields, at + 1


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if _I16 <= kind <= _I64:
        return _integer(data, at)
    if kind == _BINARY:
        length, at = _varint(data, at)
        if length > len(data) - at:
            raise DamagedFileError("is damaged: a header is truncated")
        return data[at : at + length], at + length
    if kind == _STRUCT:
        return _struct(data, at, depth - 1)
    if kind in (_LIST, _SET):
        return _list(data, at, depth - 1)
    if kind in (_TRUE, _FALSE, _BYTE):  # in a list, a truth value takes a byte
        return data[at], at + 1
    if kind == _DOUBLE:
        return None, at + 8
    raise DamagedFileError("is damaged: a header has an unknown field type")


def _list(data: bytes, at: int, depth: int) -> tuple[list[Any], int]:
    size, kind = data[at] >> 4, data[at] & 15
    at += 1
    if size == 15:
        size, at = _varint(data, at)
    if size > len(data) - at or depth <= 0:
        raise DamagedFileError("is damaged: a header has a truncated list")
    values: list[Any] = [None] * size
    for place in range(size):
        values[place], at = _value(data, at, kind, depth)
    return values, at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = data[at]
    at += 1
    if number < 128:
        return number, at
    number &= 127
    for shift in range(7, 70, 7):
        octet = data[at]
        at += 1
        number |= (octet & 127) << shift
        if octet < 128:
            return number, at
    raise DamagedFileError("is damaged: a header has an unterminated integer")


def _integer(data: bytes, at: int) -> tuple[int, int]:
    number, at = _varint(data, at)
    return (number >> 1) ^ -(number & 1), at
