"""Figures of measurements of probes, as SVG: values by layer or mode, and the units that flip predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.report.figures import Picture, shades
from analysis.report.svg import GRID, INK, MAIN, SERIES, as_svg, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHARES = (-0.03, 1.03)
"""Limits of an axis of shares."""
MANY = 40
"""Places: of more the markers and bars would hide each other, and the file would be large."""
_TICKS, _LETTERS = 12, 12
"""Names below an axis, and their letters, that a phone has room for."""
_ROWS = 400
"""Of a figure's table."""


def by_place(
    name: str,
    frame: pd.DataFrame,
    labels: tuple[str, str],
    caption: str,
    limits: tuple[float, float],
    levels: Mapping[str, float] = MappingProxyType({}),
) -> Picture:
    """A line for each `group` of a frame with `place`, `value` and `se`, over the places in their first order.

    With `low` and `high` a thin line from one to the other at each place. `labels` are those of the axes, `levels` the
    heights of dashed lines by group.
    """
    places = list(dict.fromkeys(frame["place"]))
    groups = list(dict.fromkeys(frame["group"]))
    with drawing() as (figure, axes):
        axes.axhline(0, color=INK, linewidth=0.6)
        for each, group in enumerate(groups):
            colour = _colour(each, len(groups))
            at = (each - (len(groups) - 1) / 2) * 0.12
            rows = frame[frame["group"] == group].set_index("place").reindex(places)
            _line(axes, np.arange(len(places)) + at, rows, colour)
            if group in levels:
                axes.axhline(levels[group], color=colour, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set(ylabel=labels[1], ylim=limits, xlim=(-0.5, len(places) - 0.5))
        _name_places(axes, places, labels[0])
        axes.grid(axis="y", color=GRID)
        svg = as_svg(figure, name)
    suffix = f" for {_listed(groups)} examples" if len(groups) > 1 else ""
    alt = f"{labels[1]} by {labels[0]}, {len(places)} in all{suffix}; the values are in the table."
    return Picture(svg, alt, caption, tuple(map(str, groups)))


def _line(axes: "Axes", x: Any, rows: pd.DataFrame, colour: str) -> None:
    if len(x) > MANY:
        axes.plot(x, rows["value"], color=colour, linewidth=1.2)
        return
    if "low" in rows:
        axes.vlines(x, rows["low"], rows["high"], color=colour, linewidth=0.8)
    errors = rows["se"].fillna(0)
    axes.errorbar(x, rows["value"], errors, color=colour, marker="o", markersize=4, linewidth=1, elinewidth=2.2)


def _name_places(axes: "Axes", places: Sequence[Any], label: str) -> None:
    """Names from outside are no formulas; of many places some are named."""
    step = -(-len(places) // _TICKS)
    shown = range(0, len(places), step)
    names = [text if len(text := str(places[each])) <= _LETTERS else f"…{text[1 - _LETTERS :]}" for each in shown]
    is_long = sum(map(len, names)) > 36
    slanted: Any = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if is_long else {}
    axes.set_xticks(list(shown), names, parse_math=False, **slanted)
    axes.tick_params(axis="x", length=0)
    if step > 1:
        axes.set_xlabel(f"{label}, one of {step} named")


def flips(name: str, frame: pd.DataFrame, groups: Sequence[str], caption: str) -> Picture:
    """Of each group the share that needs no more than so many units, with a band of one standard error."""
    from matplotlib.ticker import MaxNLocator

    with drawing() as (figure, axes):
        for each, group in enumerate(groups):
            rows, colour = frame[frame["group"] == group], _colour(each, len(groups))
            share, error = rows["share"], rows["share_se"].fillna(0)
            axes.fill_between(
                rows["units"], share - error, share + error, step="post", color=colour, alpha=0.2, linewidth=0
            )
            axes.step(rows["units"], share, where="post", color=colour, linewidth=1.6)
            axes.plot(rows["units"].tail(1), share.tail(1), color=colour, marker="o", markersize=3)
        axes.set(xlabel="units set to 0", ylabel="predictions flipped", ylim=SHARES)
        axes.set_xlim(left=0.5)
        axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
        axes.grid(color=GRID)
        svg = as_svg(figure, name)
    told = f"Share of flipped predictions against units set to 0, for {_listed(groups)} examples"
    return Picture(svg, f"{told}; the values are in the table.", caption, tuple(groups))


def with_values(picture: Picture, frame: pd.DataFrame, columns: Mapping[str, str]) -> Picture:
    """The figure with a table of a frame's columns, by their titles; beside numbers with a `NAME_se` stand these."""
    titles: list[str] = []
    cells: list[list[str]] = []
    for title, column in columns.items():
        errors = frame.get(f"{column}_se")
        titles += [title] if errors is None else [title, "± se"]
        is_text = errors is None
        cells.append([str(value) if is_text else _number(value) for value in frame[column].head(_ROWS)])
        if errors is not None:
            cells.append([_number(value) for value in errors.head(_ROWS)])
    return replace(picture, columns=tuple(titles), values=tuple(zip(*cells, strict=True)))


def _number(value: float) -> str:
    return "–" if value != value else f"{value:.3f}".replace("-", "−")


def _colour(place: int, groups: int) -> str:
    return MAIN if groups == 1 else SERIES[shades(groups)[place]]


def _listed(groups: Sequence[Any]) -> str:
    return " and ".join(filter(None, (", ".join(map(str, groups[:-1])), str(groups[-1]))))
