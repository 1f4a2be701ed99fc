"""Reads the label column of Parquet files: numbers or text, with or without the hub's class names.

A number means what the names in its own file say: files of one data set may list the classes in another order.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workers.common.arrays import AnyArray
from workers.datasets.parquet_files import ParquetFile, open_parquet, read_integers, read_texts
from workers.errors import DataError

MAX_CLASSES = 1_000_000
"""More texts, or greater numbers without names, are ids of something else, not of classes."""


@dataclass(frozen=True)
class FileLabels:
    """The labels of one file, in the order of its rows."""

    file: Path
    values: pa.Array
    """int64 or large_string, without nulls."""
    names: tuple[str, ...] | None
    """What the numbers mean, where the file says it."""

    @property
    def is_text(self) -> bool:
        """Whether the labels are the classes' names themselves."""
        return not pa.types.is_integer(self.values.type)

    @property
    def is_bare(self) -> bool:
        """Whether the labels are numbers, and nothing says what these mean."""
        return len(self.values) > 0 and not self.is_text and self.names is None


class ClassNumbers(NamedTuple):
    """Class names, and the int64 class numbers of training and test examples."""

    names: tuple[str, ...]
    train: AnyArray
    test: AnyArray
    notes: tuple[str, ...]


def read_labels(files: Sequence[Path], column: str) -> list[FileLabels]:
    """The labels of a split's files. Raises DataError where one is missing or of another type."""
    return [_read_file(file, column) for file in files]


def number_classes(train: list[FileLabels], test: list[FileLabels], column: str) -> ClassNumbers:
    """One numbering of the classes for all files.

    Classes are the hub's `ClassLabel` names in the order of the first training file, further ones behind; without such
    the sorted texts, or the numbers 0 to the greatest training label.
    Raises DataError, naming file and row, where a label is none of the classes, and, naming both files, where text
    stands beside numbers without names.
    """
    files = [*train, *test]
    _check_kinds(train, files, column)
    names = _class_names(train, column)
    _check_repeated_names(files)
    split = [
        np.concatenate([np.zeros(0, np.int64), *(_numbers(each, names, column) for each in part)])
        for part in (train, test)
    ]
    return ClassNumbers(names, split[0], split[1], tuple(_notes(train, files, names)))


def _read_file(path: Path, column: str) -> FileLabels:
    file = open_parquet(path)
    values = _values(file, column)
    if values.null_count:
        first = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0])
        raise DataError(f"{path}: row {first}: has no label in column {column!r}")
    named = pa.types.is_integer(values.type)
    return FileLabels(path, values, _hub_class_names(file.schema, column) if named else None)


def _values(file: ParquetFile, column: str) -> pa.Array:
    """One array of int64 or large_string; of a file without rows whatever its type is."""
    if file.rows == 0:
        return pa.array([], pa.int64())
    kind = file.schema.field(column).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_integer(kind):
        return read_integers(file, column)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return read_texts(file, column)
    raise DataError(f"dataset.label_column: {column!r} of {file.path} must be integers or text, got {kind}")


def _hub_class_names(schema: pa.Schema, column: str) -> tuple[str, ...] | None:
    """The names that Hugging Face's `ClassLabel` keeps in the schema's metadata; None where it has none."""
    try:
        feature = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][column]
        names = feature["names"] if feature["_type"] == "ClassLabel" else None
    except (KeyError, TypeError, ValueError):
        return None
    return tuple(map(str, names)) if isinstance(names, list) and names else None


def _check_kinds(train: list[FileLabels], files: list[FileLabels], column: str) -> None:
    """Raise DataError where numbers that nothing gives a meaning stand beside texts."""
    text = next((each for each in train if each.is_text), None)
    number = next((file for file in files if file.is_bare), None)
    if text is not None and number is not None:
        raise DataError(
            f"dataset.label_column: {column!r} is text in {text.file}, but numbers without class names in {number.file}"
        )


def _class_names(train: list[FileLabels], column: str) -> tuple[str, ...]:
    named = [name for each in train for name in each.names or ()]
    texts = sorted({text for each in train if each.is_text for text in _unique_texts(each, column)})
    if named:
        first = next(each.names for each in train if each.names is not None)
        return (*first, *(name for name in dict.fromkeys([*named, *texts]) if name not in set(first)))
    if texts:
        return tuple(texts)
    count = max((pc.max(each.values).as_py() or 0 for each in train), default=0) + 1
    if count > MAX_CLASSES:
        raise DataError(
            f"dataset.label_column: {column!r} must hold class numbers below {MAX_CLASSES}, got {count - 1}"
        )
    return tuple(map(str, range(count)))


def _unique_texts(labels: FileLabels, column: str) -> list[str]:
    unique = pc.unique(labels.values)
    if len(unique) > MAX_CLASSES:
        raise DataError(
            f"dataset.label_column: {column!r} of {labels.file} must hold at most {MAX_CLASSES:,} classes, "
            f"got {len(unique):,} texts"
        )
    texts: list[str] = unique.to_pylist()
    return texts


def _check_repeated_names(files: list[FileLabels]) -> None:
    """Raise DataError where files disagree, and a name that one has twice cannot tell which class is meant."""
    named = [file for file in files if file.names is not None]
    repeated = next((each for each in named if each.names and len(set(each.names)) < len(each.names)), None)
    other = next((each for each in named if repeated is not None and each.names != repeated.names), None)
    if repeated is not None and other is not None:
        raise DataError(
            f"dataset.label_column: {repeated.file} has a class name twice ({_listed(repeated.names or ())}), "
            f"and {other.file} has others ({_listed(other.names or ())})"
        )


def _numbers(labels: FileLabels, names: tuple[str, ...], column: str) -> AnyArray:
    """A file's labels as numbers of the common names."""
    own = labels.names or names
    if labels.is_text:
        indices = pc.index_in(labels.values, value_set=pa.array(names, labels.values.type))
        numbers = indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    else:
        numbers = labels.values.to_numpy(zero_copy_only=False)
        _check_range(labels, numbers, own, column)
        if own != names:
            index = {name: number for number, name in enumerate(names)}
            numbers = np.array([index.get(name, -1) for name in own], dtype=np.int64)[numbers]
    unknown = np.flatnonzero(numbers < 0)
    if len(unknown):
        row = int(unknown[0])
        label = labels.values[row].as_py()
        raise DataError(
            f"{labels.file}: row {row}: column {column!r} must be one of the {len(names)} classes ({_listed(names)}), "
            f"got {label if labels.is_text else own[label]!r}"
        )
    return np.array(numbers, dtype=np.int64)


def _check_range(labels: FileLabels, numbers: AnyArray, names: tuple[str, ...], column: str) -> None:
    wrong = np.flatnonzero((numbers < 0) | (numbers >= len(names)))
    if len(wrong) == 0:
        return
    if (numbers == -1).all():
        raise DataError(
            f"{labels.file}: column {column!r} is -1 in every row: these examples have no labels, as in some test sets "
            "of the hub; leave them out"
        )
    raise DataError(
        f"{labels.file}: row {wrong[0]}: column {column!r} must be one of the {len(names)} classes "
        f"(0 to {len(names) - 1}), got {numbers[wrong[0]]}"
    )


def _notes(train: list[FileLabels], files: list[FileLabels], names: tuple[str, ...]) -> list[str]:
    notes = []
    named = [file for file in files if file.names is not None]
    others = [each for each in named if each.names != named[0].names]
    if others:
        notes.append(
            f"class names differ between files, and each is read by its own: {named[0].file} has "
            f"{_listed(named[0].names or ())}; {others[0].file} has {_listed(others[0].names or ())}"
        )
    bare = [file for file in files if file.is_bare]
    if bare and named:
        meaning = f"those of {named[0].file}" if any(each.names for each in train) else "the numbers of training files"
        notes.append(f"{bare[0].file} has no class names: its numbers are taken for {meaning}")
    return notes


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
