"""Selects the examples of galleries: lowest, middle and highest scores of each class, and high-influence pairs.

The ends are by evidence: the most memorized are those with the highest lower limits, the least regular those with the
lowest upper limits. An extreme value of few runs is luck more often than not. In the middle, of equal values those with
the narrowest interval come first. Then the smaller id.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

MAX_CLASSES = 20
"""Of more classes, those whose examples have the highest mean value are shown."""


@dataclass(frozen=True)
class Strip:
    """Examples of a class in a row: `title` says which, `rows` are those of an estimate's frame."""

    title: str
    rows: pd.DataFrame


@dataclass(frozen=True)
class ClassStrips:
    """The strips of one class (a given label), of which `examples` have a value."""

    label: int
    examples: int
    strips: tuple[Strip, ...]


def memorized_by_class(mem: pd.DataFrame, count: int) -> list[ClassStrips]:
    """The `count` of each class with the highest lower limits; of the others those nearest to 1/2, then to 0."""
    class_strips = []
    for label, rows in _classes(mem, "mem"):
        most = _ordered(rows, -rows["low"], count)
        others = rows.drop(most.index)
        middle = _ordered(others, (others["mem"] - 0.5).abs(), count)
        remaining = others.drop(middle.index)
        strips = (
            Strip("most memorized", most),
            Strip("of the others, nearest to 0.5", middle),
            Strip("of the rest, nearest to 0", _ordered(remaining, remaining["mem"].abs(), count)),
        )
        class_strips.append(ClassStrips(label, len(rows), strips))
    return class_strips


def regular_by_class(cscore: pd.DataFrame, count: int) -> list[ClassStrips]:
    """The `count` examples of each class with the lowest upper and those with the highest lower limits."""
    class_strips = []
    for label, rows in _classes(cscore, "cscore"):
        strips = (
            Strip("lowest", _ordered(rows, rows["high"], count)),
            Strip("highest", _ordered(rows, -rows["low"], count)),
        )
        class_strips.append(ClassStrips(label, len(rows), strips))
    return class_strips


def strongest_pairs(pairs: pd.DataFrame, tests: int, each: int) -> list[pd.DataFrame]:
    """For the `tests` test examples with the highest lower limits, the `each` highest pairs: a frame for each."""
    ordered = pairs.sort_values(["low", "infl", "test_example_id", "example_id"], ascending=[False, False, True, True])
    chosen = ordered["test_example_id"].drop_duplicates().head(tests)
    return [ordered[ordered["test_example_id"] == test].head(each) for test in chosen]


def _classes(frame: pd.DataFrame, value: str) -> list[tuple[int, pd.DataFrame]]:
    """Ascending labels with their rows that have a value."""
    valued = frame[frame[value].notna()]
    means = valued.groupby("given_label")[value].mean()
    shown = means.nlargest(MAX_CLASSES) if value == "mem" else means.nsmallest(MAX_CLASSES)
    return [(int(label), valued[valued["given_label"] == label]) for label in sorted(shown.index.tolist())]


def _ordered(rows: pd.DataFrame, key: pd.Series, count: int) -> pd.DataFrame:
    keys = (rows["example_id"], (rows["high"] - rows["low"]).round(9), key.round(9))
    return rows.iloc[np.lexsort(keys)[:count]]
