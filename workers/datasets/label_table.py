"""Reads given labels from a table, such as the human annotations of CIFAR-10N.

J. Wei et al., "Learning with noisy labels revisited: a study using real-world human annotations", ICLR 2022.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workers.campaign.noise import LabelNoise
from workers.common.arrays import Integers
from workers.datasets.example_table import ExampleTable

_FIELD = "label_noise"


def labels_sha256(labels: Integers) -> str:
    """SHA-256 (hex) of int64[N] given labels in canonical order: what a campaign's identity knows of them."""
    return hashlib.sha256(np.ascontiguousarray(labels, dtype="<i8").tobytes()).hexdigest()


def read_given_labels(source: LabelNoise, num_train: int, class_names: Sequence[str]) -> Integers:
    """int64[N], the given label of each training example in canonical order, from `source.file`.

    The column holds class numbers or class names. Raises CampaignError, in one line that names the file, where it has
    not one known class for each of `num_train` examples, or not the labels that `sha256` asks for; StoreError where the
    place cannot be reached; ValueError where the source names no file.
    """
    if source.file is None or source.column is None:
        raise ValueError("label_noise has no file")
    table = ExampleTable.read(source.file, _FIELD, [source.column], npz_column=source.column)
    column = table.column(source.column)
    if column.null_count:
        text = f"must have a label for each example, got none for {column.null_count}"
        raise table.mistake("column", f"column {source.column} {text}")
    labels = np.empty(num_train, dtype=np.int64)
    ids = table.ids(num_train)
    labels[ids] = _numbers(table, column, source.column, class_names)
    wrong = np.flatnonzero((labels < 0) | (labels >= len(class_names)))
    if len(wrong):
        row = int(np.flatnonzero(ids == wrong[0])[0])
        known = f"must be one of the {len(class_names)} classes, by number (from 0) or by name"
        text = f"column {source.column} {known}, got {column[row].as_py()!r:.80} of example {wrong[0]}"
        raise table.mistake("column", text)
    sha256 = labels_sha256(labels)
    if source.sha256 is not None and source.sha256 != sha256:
        text = f"column {source.column} has other labels, SHA-256 {sha256}, than {source.sha256}"
        raise table.mistake("sha256", text)
    return labels


def _numbers(table: ExampleTable, column: pa.ChunkedArray, name: str, class_names: Sequence[str]) -> Integers:
    """Class numbers of a column's rows; -1 for a name that no class has. Raises CampaignError for another type."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_integer(kind):
        try:
            return np.asarray(column.cast(pa.int64()).to_numpy(), dtype=np.int64)
        except pa.ArrowInvalid as error:
            raise table.mistake("column", f"column {name} must hold classes, got {error}") from error
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise table.mistake("column", f"column {name} must hold class numbers or class names, got {kind}")
    twice = next((name for name in class_names if list(class_names).count(name) > 1), None)
    if twice is not None:
        raise table.mistake("column", f"column {name} holds class names, and {twice!r:.80} is the name of two classes")
    indices = pc.index_in(column.cast(pa.large_string()), value_set=pa.array(class_names, pa.large_string()))
    return np.asarray(indices.cast(pa.int64()).fill_null(-1).to_numpy(), dtype=np.int64)
