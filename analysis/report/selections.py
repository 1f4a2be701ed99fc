"""Selects the examples of galleries: the ends and the middle of memorization and C-scores in each class.

The ends are by evidence: the most memorized are those with the highest lower limits, the least regular those with the
lowest upper limits. An extreme value of few runs is luck more often than not. In the middle, of equal values those with
the narrowest interval come first. Then the smaller id. A title says what holds of every example under it, no example is
in two strips of a class, and a strip without examples is left out.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

MAX_CLASSES = 20
"""Classes in a gallery: of more, those with the highest mean mem, or the lowest mean C-score."""
MIDDLE = (0.25, 0.75)
"""Memorization of the middle strip."""


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
    """Of each class up to `count` whose interval is above 0, of the others among these those in MIDDLE, and of those
    whose interval includes 0 the nearest to it."""
    class_strips = []
    for label, rows in _classes(mem, "mem"):
        above = rows[rows["low"] > 0]
        most = _ordered(above, -above["low"], count)
        others = above.drop(most.index)
        others = others[others["mem"].between(*MIDDLE)]
        remaining = rows[(rows["low"] <= 0) & (rows["high"] >= 0)]
        strips = (
            Strip("most memorized", most),
            Strip("of the others, 0.25 to 0.75", _ordered(others, (others["mem"] - 0.5).abs(), count)),
            Strip("least: the interval includes 0", _ordered(remaining, remaining["mem"].abs(), count)),
        )
        class_strips.append(ClassStrips(label, len(rows), tuple(strip for strip in strips if len(strip.rows))))
    return class_strips


def regular_by_class(cscore: pd.DataFrame, count: int) -> list[ClassStrips]:
    """The `count` examples of each class with the lowest upper and those with the highest lower limits: of few examples
    half are in each strip."""
    class_strips = []
    for label, rows in _classes(cscore, "cscore"):
        lowest = _ordered(rows, rows["high"], min(count, -(-len(rows) // 2)))
        others = rows.drop(lowest.index)
        highest = _ordered(others, -others["low"], count)
        strips = (Strip("lowest" if len(highest) else "the only one", lowest), Strip("highest", highest))
        class_strips.append(ClassStrips(label, len(rows), tuple(strip for strip in strips if len(strip.rows))))
    return class_strips


def _classes(frame: pd.DataFrame, value: str) -> list[tuple[int, pd.DataFrame]]:
    """Ascending labels with their rows that have a value."""
    valued = frame[frame[value].notna()]
    means = valued.groupby("given_label")[value].mean()
    shown = means.nlargest(MAX_CLASSES) if value == "mem" else means.nsmallest(MAX_CLASSES)
    return [(int(label), valued[valued["given_label"] == label]) for label in sorted(shown.index.tolist())]


def _ordered(rows: pd.DataFrame, key: pd.Series, count: int) -> pd.DataFrame:
    keys = (rows["example_id"], (rows["high"] - rows["low"]).round(9), key.round(9))
    return rows.iloc[np.lexsort(keys)[:count]]
