"""The picture of proxies: the rank correlations of each with the C-score."""

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROOM = 0.32
"""Inches of a row."""


def plot_proxies(table: pd.DataFrame) -> "Figure":
    """A figure 7 inches wide of a frame of `proxy_agreement`, best proxy on top; save it with `figure.savefig(path)`.

    Dots are Spearman's correlation and Kendall's tau-b, lines their intervals.
    """
    from matplotlib.figure import Figure  # here: it takes longer to import than all of analysis

    rows = table.sort_values("spearman", kind="stable", na_position="first")
    figure = Figure(figsize=(7, 1.2 + _ROOM * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(rows))
    for name, label, marker, shift in (("spearman", "Spearman", "o", 0.12), ("kendall", "Kendall tau-b", "s", -0.12)):
        heights = [place + shift for place in places]
        (dots,) = axes.plot(rows[name], heights, marker, markersize=4, label=label)
        axes.hlines(heights, rows[f"{name}_low"], rows[f"{name}_high"], color=dots.get_color(), linewidth=1)
    axes.set_yticks(list(places), rows["proxy"])
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("rank correlation with the C-score")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize="small", frameon=False)
    return figure
