"""Names and notes of a data set, which its fingerprint does not cover.

No fingerprint covers it: files that were renamed hold the same data.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from workers.errors import DataError

MAX_NAME = 1000
"""Bytes (UTF-8) of an example's name, as in a store."""
MAX_NOTES = 50
MAX_NOTE = 500
"""Characters of one note."""


@dataclass(frozen=True)
class Description:
    """The parts of a Dataset that its fingerprint does not cover, as they are there."""

    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    train_names: pa.LargeStringArray | None = None
    test_names: pa.LargeStringArray | None = None


def checked_notes(notes: Any) -> tuple[str, ...]:
    """Notes as lines of bounded number and length. Raises DataError where they are not strings."""
    if isinstance(notes, str) or not isinstance(notes, Iterable):
        raise DataError(f"notes: must be strings, got {notes!r:.200}")
    lines = tuple(notes)
    wrong = next((note for note in lines if not isinstance(note, str)), None)
    if wrong is not None:
        raise DataError(f"notes: must be strings, got {wrong!r:.200}")
    more = len(lines) - MAX_NOTES
    shown = lines if more <= 0 else (*lines[: MAX_NOTES - 1], f"and {more + 1:,} notes more")
    return tuple(_shortened(" ".join(note.split())) for note in shown)


def _shortened(note: str) -> str:
    return note if len(note) <= MAX_NOTE else f"{note[: MAX_NOTE - 3]}..."


def checked_example_names(field: str, names: Any, count: int) -> pa.LargeStringArray | None:
    """The names of a split's examples as one Arrow array, or None where they have none; they need not be unique.

    Raises DataError, naming the field, unless there is one string of at most MAX_NAME bytes for each example.
    """
    if names is None:
        return None
    if isinstance(names, str | bytes) or not (hasattr(names, "__len__") and hasattr(names, "__iter__")):
        raise DataError(f"{field}: must be a sequence of strings, got {names!r:.200}")
    if len(names) != count:
        raise DataError(f"{field}: must have {count} names, one for each example, got {len(names)}")
    try:
        array = names if isinstance(names, pa.Array | pa.ChunkedArray) else pa.array(names, pa.large_string())
        array = array.cast(pa.large_string())
    except (TypeError, ValueError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{field}: must be strings of valid Unicode ({reason})") from error
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    if array.null_count:
        raise DataError(f"{field}: must be a string for each example, got none for {array.null_count}")
    longest = pc.max(pc.binary_length(array)).as_py() or 0
    if longest > MAX_NAME:
        raise DataError(f"{field}: must be at most {MAX_NAME} bytes each, got {longest}")
    return array


def file_names(paths: Sequence[str], root: Path) -> list[str]:
    """Names of examples from their files: the paths below root, bytes that are not UTF-8 as \\xNN, long ones cut."""
    length = len(os.path.join(root, ""))  # noqa: PTH118
    names = (os.fsencode(path[length:]).decode("utf-8", "backslashreplace") for path in paths)
    return [fitting_name(name) for name in names]


def fitting_name(name: str) -> str:
    """A name of at most MAX_NAME bytes; of a longer one its end."""
    encoded = name.encode(errors="backslashreplace")
    if len(encoded) <= MAX_NAME:
        return encoded.decode()
    return "..." + encoded[3 - MAX_NAME :].decode(errors="ignore")


def write_names(path: Path, description: Description, counts: tuple[int, int]) -> None:
    """Write the names of N and T examples as an Arrow file: one column, null where a split has no names.

    Raises OSError.
    """
    splits = zip((description.train_names, description.test_names), counts, strict=True)
    chunks = [pa.nulls(count, pa.large_string()) if names is None else names for names, count in splits]
    table = pa.table({"name": pa.concat_arrays(chunks)})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def read_names(path: Path, counts: tuple[int, int]) -> tuple[pa.LargeStringArray | None, pa.LargeStringArray | None]:
    """The names of N and T examples, memory-mapped. Raises OSError or ValueError where they are not those written."""
    try:
        with pa.ipc.open_file(pa.memory_map(str(path))) as reader:
            table = reader.read_all()
        table.validate(full=True)
    except pa.ArrowException as error:
        raise ValueError(f"{path}: {error}") from error
    if table.schema != pa.schema([("name", pa.large_string())]) or len(table) != sum(counts):
        raise ValueError(f"{path}: is not a file of {sum(counts)} names")
    names = table["name"].combine_chunks()
    train, test = names.slice(0, counts[0]), names.slice(counts[0])
    return (None if train.null_count else train), (None if test.null_count else test)
