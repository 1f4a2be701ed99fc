"""Names beside ids: names of examples where the data set has them, names of classes where they are not just numbers.

    example_id, test_example_id        name, test_name                       an image's file, for example
    label, given_label, test_label     label_name, given_label_name, ...     where classes are not just called 0, 1, ...

Names are texts of anybody. They stand to the right of what they name; frames without ids of examples stay as they are.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from workers.store import Store
from workers.store.example_schema import SEEN_BY_ENCODER

_IDS = {
    "example_id": ("name", 0),
    "affected_example_id": ("affected_name", 0),
    "test_example_id": ("test_name", 1),
}
_LABELS = ("label", "given_label", "predicted_label", "test_label", "affected_given_label")
NAMES = ("name", "affected_name", "test_name", *(f"{label}_name" for label in _LABELS))
"""All columns of names."""


def with_names(frame: pd.DataFrame, store: Store) -> pd.DataFrame:
    """The frame with the columns of names that its ids and labels have; those that are there stay.

    Where models were trained on features of a run, training examples have `seen_by_encoder` as well. A frame with a
    column `split` has ids of both splits. Raises DamagedFileError where the store's examples are damaged.
    """
    frame = _with_seen_by_encoder(frame, store)
    if not any(_has_integers(frame, column) for column in _IDS):
        return frame
    names = {column: _names_of(frame, column, store) for column in (*_IDS, *_LABELS) if _has_integers(frame, column)}
    added = {name: values for name, values in names.values() if values is not None and name not in frame}
    if not added:
        return frame
    beside = {column: name for column, (name, _) in names.items() if name in added}
    order = [each for column in frame.columns for each in (column, beside.get(column)) if each is not None]
    return frame.assign(**added)[order]


def _with_seen_by_encoder(frame: pd.DataFrame, store: Store) -> pd.DataFrame:
    """The frame with SEEN_BY_ENCODER behind the ids of training examples, where the store knows it."""
    if not _has_integers(frame, "example_id") or "split" in frame or SEEN_BY_ENCODER in frame:
        return frame
    seen = store.seen_by_encoder()
    if seen is None:
        return frame
    place = list(frame.columns).index("example_id") + 1
    order = [*frame.columns[:place], SEEN_BY_ENCODER, *frame.columns[place:]]
    return frame.assign(**{SEEN_BY_ENCODER: seen[frame["example_id"].to_numpy()]})[order]


def class_names_say_more(class_names: Sequence[str]) -> bool:
    """Whether they are other than the classes' numbers."""
    return list(class_names) != [str(number) for number in range(len(class_names))]


def _has_integers(frame: pd.DataFrame, column: str) -> bool:
    return column in frame and pd.api.types.is_integer_dtype(frame[column])


def _names_of(frame: pd.DataFrame, column: str, store: Store) -> tuple[str, npt.NDArray[np.object_] | None]:
    """The column of names beside a column, and its values; None where there are none."""
    numbers = frame[column].to_numpy(dtype=np.int64, na_value=-1)
    if column in _LABELS:
        names = store.header.class_names if class_names_say_more(store.header.class_names) else None
        return f"{column}_name", _taken(None if names is None else pa.array(names), numbers)
    name, of_tests = _IDS[column]
    train, test = store.names
    if "split" not in frame or of_tests:
        return name, _taken(test if of_tests else train, numbers)
    if train is None and test is None:
        return name, None
    is_test = (frame["split"] == "test").to_numpy()
    values = np.full(len(frame), None, dtype=object)
    for mask, names in ((~is_test, train), (is_test, test)):
        if names is not None:
            values[mask] = _taken(names, numbers[mask])
    return name, values


def _taken(names: pa.Array | None, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.object_] | None:
    """The names at some numbers, None for one that is outside; equal ones share their memory."""
    if names is None:
        return None
    known = (numbers >= 0) & (numbers < len(names))
    present, places = np.unique(numbers[known], return_inverse=True)
    values = np.full(len(numbers), None, dtype=object)
    values[known] = np.array([*names.take(pa.array(present)).to_pylist(), None], dtype=object)[places]
    return values
