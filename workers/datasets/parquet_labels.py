"""The label column of Parquet files: numbers or text, with or without the hub's class names."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workers.datasets.dataset import Array
from workers.datasets.parquet_files import parquet_errors, read_column
from workers.errors import DataError

MAX_UNNAMED_CLASSES = 1_000_000
"""Greater numbers are ids of something else, not of classes."""


class Labels:
    """A split's labels in order, and where each came from."""

    def __init__(self, counts: list[tuple[Path, int]], values: pa.Array) -> None:
        self.counts = counts
        self.values = values

    def where(self, index: int) -> str:
        """The file and row (from 0) of a label."""
        for file, count in self.counts:
            if index < count:
                return f"{file}: row {index}"
            index -= count
        raise IndexError(index)


def read_labels(files: list[Path], column: str) -> Labels:
    """The labels of a split's files, as int64 or text. Raises DataError where one is missing or of another type."""
    parts = [_plain(read_column(file, column), file, column) for file in files]
    kinds = {part.type for part in parts}
    if len(kinds) > 1:
        raise DataError(f"dataset.label_column: {column!r} has several types: {', '.join(sorted(map(str, kinds)))}")
    values = pa.concat_arrays(parts)
    labels = Labels([(file, len(part)) for file, part in zip(files, parts, strict=True)], values)
    if values.null_count:
        first = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0])
        raise DataError(f"{labels.where(first)}: has no label in column {column!r}")
    return labels


def _plain(values: pa.ChunkedArray, file: Path, column: str) -> pa.Array:
    """One array of int64 or string."""
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if pa.types.is_integer(kind):
        with parquet_errors(file):
            return values.cast(pa.int64()).combine_chunks()
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return values.cast(pa.large_string()).combine_chunks()
    raise DataError(f"dataset.label_column: {column!r} of {file} must be integers or text, got {kind}")


def hub_class_names(schema: pa.Schema, column: str) -> tuple[str, ...] | None:
    """The names that Hugging Face's `ClassLabel` keeps in the schema's metadata; None where it has none."""
    try:
        document = json.loads((schema.metadata or {})[b"huggingface"])
        feature = document["info"]["features"][column]
        return tuple(map(str, feature["names"])) if feature["_type"] == "ClassLabel" else None
    except (KeyError, TypeError, ValueError):
        return None


def class_numbers(
    train: Labels, test: Labels | None, names: tuple[str, ...] | None, column: str
) -> tuple[tuple[str, ...], tuple[Array, Array]]:
    """Class names, and the int64 class numbers of training and test examples.

    Raises DataError, naming the row, where a label is none of the classes.
    """
    if names is None:
        names = _class_names(train, column)
    none = np.zeros(0, dtype=np.int64)
    return names, (_numbers(train, names, column), none if test is None else _numbers(test, names, column))


def _class_names(train: Labels, column: str) -> tuple[str, ...]:
    if not pa.types.is_integer(train.values.type):
        return tuple(sorted(pc.unique(train.values).to_pylist()))
    count = (pc.max(train.values).as_py() or 0) + 1
    if count > MAX_UNNAMED_CLASSES:
        raise DataError(
            f"dataset.label_column: {column!r} must hold class numbers below {MAX_UNNAMED_CLASSES}, got {count - 1}"
        )
    return tuple(map(str, range(count)))


def _numbers(labels: Labels, names: tuple[str, ...], column: str) -> Array:
    values: Any = labels.values
    if not pa.types.is_integer(values.type):
        found = pc.index_in(values, value_set=pa.array(names, values.type))
        numbers = found.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    else:
        numbers = values.to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero((numbers < 0) | (numbers >= len(names)))
    if len(wrong):
        index = int(wrong[0])
        raise DataError(
            f"{labels.where(index)}: column {column!r} must be one of the {len(names)} classes "
            f"({_range(names, values.type)}), got {values[index].as_py()!r}"
        )
    return np.array(numbers, dtype=np.int64)


def _range(names: tuple[str, ...], kind: pa.DataType) -> str:
    if pa.types.is_integer(kind):
        return f"0 to {len(names) - 1}"
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
