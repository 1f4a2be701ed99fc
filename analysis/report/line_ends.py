"""Names at the ends of lines, in place of a legend, and patterns that tell lines apart without colours."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.report.svg import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_NAMES = 12
"""Lines that have room for names at their ends."""
_GAP = 0.075
"""Between two names, of the height of the axes."""
_MAX_LETTERS = 22
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (1, 1.2)), (0, (8, 2, 2, 2)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@dataclass(frozen=True)
class LineEnd:
    """The last point of a line, its name and its colour."""

    x: float
    y: float
    name: str
    colour: str


def pattern(place: int, *, markers: bool) -> dict[str, Any]:
    """Dashes and marker of a figure's line number `place`."""
    marker = _MARKERS[place % len(_MARKERS)] if markers else ""
    return {"linestyle": _DASHES[place % len(_DASHES)], "marker": marker}


def name_line_ends(axes: "Axes", ends: Sequence[LineEnd]) -> None:
    """Write each line's name to the right of the axes, whose limits are set, at the height of its end or next to it.

    The words that all names begin with are written once, above them.
    """
    low, high = axes.get_ylim()
    order = sorted(range(len(ends)), key=lambda place: ends[place].y)
    heights = _apart(np.array([(ends[place].y - low) / (high - low) for place in order]))
    words = takewhile(lambda same: len(set(same)) == 1, zip(*(end.name.split(" ")[:-1] for end in ends), strict=False))
    common = "".join(f"{word[0]} " for word in words) if len(ends) > 1 else ""
    if common:
        axes.annotate(common.strip(), (1.03, 1.06), xycoords="axes fraction", va="bottom", color=INK, fontsize=10)
    for place, height in zip(order, heights, strict=True):
        end = ends[place]
        axes.annotate(
            _cut(end.name[len(common) :]),
            xy=(end.x, end.y),
            xytext=(1.06, height),
            textcoords="axes fraction",
            va="center",
            color=end.colour,
            fontsize=10,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": end.colour, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 2},
        )


def _apart(heights: np.ndarray) -> np.ndarray:
    """Ascending heights moved apart by _GAP, from 0 to 1 as long as there is room."""
    moved = heights.clip(0, 1)
    for place in range(1, len(moved)):
        moved[place] = max(moved[place], moved[place - 1] + _GAP)
    if len(moved):
        moved[-1] = min(moved[-1], max(1.0, _GAP * (len(moved) - 1)))
    for place in range(len(moved) - 2, -1, -1):
        moved[place] = min(moved[place], moved[place + 1] - _GAP)
    return moved


def _cut(name: str) -> str:
    return name if len(name) <= _MAX_LETTERS else f"{name[: _MAX_LETTERS - 1]}…"
