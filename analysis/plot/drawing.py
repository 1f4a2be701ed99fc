"""Helpers of all plots: default axes, a palette for colour-blind readers, names as plain text."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from workers.common.arrays import Objects
from workers.errors import EstimateError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PALETTE = ("#1f5f8b", "#c95a12", "#00805d", "#a8327d", "#8a6d00", "#595853")
"""Colours of lines that have no order, the report's among them; each has a contrast of 3:1 or more on white."""
ORDERED_PALETTE = (
    *("#3b0f70", "#57157e", "#721f81", "#8c2981", "#a8327d"),
    *("#c03a76", "#d24462", "#d64d43", "#c95a12", "#ad6500"),
)
"""Colours of ordered groups: `--s0` to `--s9` of the report's page, 3:1 or more on white."""
DASHES = ("-", "--", ":", "-.")


def given_or_new_axes(axes: "Axes | None", width: float, height: float) -> "Axes":
    """The axes given, or those of a new figure of so many inches, which pyplot shows."""
    if axes is not None:
        return axes
    from matplotlib import pyplot  # here: it takes longer to import than all of analysis

    made: Axes = pyplot.subplots(figsize=(width, height), layout="constrained")[1]
    return made


def given_or_new_panels(
    axes: Any, shape: tuple[int, int], width: float, height: float, *, sharey: bool = False
) -> Objects:
    """The rows x columns panels given, or those of a new figure of so many inches, in one row.

    Raises EstimateError where fewer or more are given.
    """
    count = shape[0] * shape[1]
    if axes is None:
        from matplotlib import pyplot  # here: it takes longer to import than all of analysis

        figure = pyplot.figure(figsize=(width, height), layout="constrained")
        return figure.subplots(*shape, sharey=sharey, squeeze=False).ravel()
    panels = np.ravel(np.asarray(axes, dtype=object))
    if len(panels) != count:
        raise EstimateError(f"axes: there must be {count}, one for each panel, got {len(panels)}")
    return panels


def ordered_colours(count: int) -> list[str]:
    """Colours of an ordered row of lines, from the first group to the last; of one line, the first of PALETTE."""
    places = np.linspace(0, len(ORDERED_PALETTE) - 1, count).round().astype(int)
    return [PALETTE[0]] if count == 1 else [ORDERED_PALETTE[place] for place in places]


def add_legend(axes: "Axes", is_beside: bool = False, **options: Any) -> None:
    """Within the axes; or beside them, where it hides nothing, in a figure of their own."""
    if axes.get_legend_handles_labels()[0]:
        beside = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0, "frameon": False}
        axes.legend(fontsize="small", **{**(beside if is_beside else {}), **options})


def ink(axes: "Axes") -> Any:
    """The colour of the text: black or, in a dark style, white."""
    return axes.xaxis.label.get_color()


def plain(name: object, shown: int | None = None) -> str:
    """Text from outside as it stands: a dollar sign would start a formula, an underscore hides a line from the legend.

    Of more than `shown` characters, the last ones, where paths differ.
    """
    text = str(name)
    text = text if shown is None or len(text) <= shown else f"...{text[-shown:]}"
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def check_columns(frame: pd.DataFrame, *columns: str) -> None:
    """Raise EstimateError where a frame lacks one."""
    lacking = [column for column in columns if column not in frame]
    if lacking:
        raise EstimateError(f"frame: must have the columns {', '.join(columns)}, got none called {', '.join(lacking)}")
