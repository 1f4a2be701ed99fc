"""Plots of a value against the number of runs, or the share of examples removed."""

from typing import TYPE_CHECKING

import pandas as pd

from analysis.plot.drawing import DASHES, PALETTE, add_legend, check_columns, given_or_new_axes
from workers.errors import NoEstimateError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ESTIMATES = {
    "memorization": "memorization",
    "consistency": "consistency",
    "cscore": "C-score",
    "influential_pairs": "influential pairs",
}


def reliability(frame: pd.DataFrame, axes: "Axes | None" = None) -> "Axes":
    """How far halves of the runs agree, by the number of runs in both: a frame of `estimate_reliability`.

    Filled dots are the reliability of the estimates (Spearman-Brown), empty ones the Jaccard index of what the halves
    select; a colour per estimate, a dash per ratio. Bars reach one standard deviation over the splits to each side.
    Raises EstimateError for a frame that lacks columns, and for one without a value.
    """
    check_columns(frame, "estimate", "ratio", "runs", "splits", "spearman_brown", "jaccard")
    if not frame[["spearman_brown", "jaccard"]].notna().any(axis=None):
        raise NoEstimateError("frame: has no value, too few runs were split")
    is_own, axes = axes is None, given_or_new_axes(axes, 7.6, 4.4)
    ratios = sorted(frame["ratio"].dropna().unique())
    for (name, ratio), rows in frame.groupby(["estimate", "ratio"], sort=False, dropna=False):
        dash = DASHES[ratios.index(ratio) % len(DASHES)] if ratio == ratio else "-"
        colour = PALETTE[list(_ESTIMATES).index(str(name))]
        told = _ESTIMATES[str(name)] + (f" at {ratio:g}" if ratio == ratio else "")
        for column, what, face in (("spearman_brown", "", colour), ("jaccard", ", selection", "none")):
            some = rows.dropna(subset=column)
            if len(some):
                axes.errorbar(
                    some["runs"],
                    some[column],
                    some[f"{column}_sd"].fillna(0),
                    color=colour,
                    linestyle=dash,
                    linewidth=1.2,
                    marker="o",
                    markersize=4,
                    markerfacecolor=face,
                    capsize=2,
                    label=told + what,
                )
    axes.set(xlabel="runs", ylabel="reliability; Jaccard index of selections", ylim=(-0.02, 1.02))
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_title(f"halves of the runs, {frame['splits'].max()} random splits", fontsize="medium")
    axes.grid(alpha=0.3)
    add_legend(axes, is_own)
    return axes


def removal(frame: pd.DataFrame, axes: "Axes | None" = None) -> "Axes":
    """Test accuracy against the share of the examples removed: a line for each rule of a frame of `removal_curve`.

    Bars go from `low` to `high`. A point without an accuracy is left out, one without an interval has no bar.
    """
    axes = given_or_new_axes(axes, 6.4, 4.4)
    for place, (rule, rows) in enumerate(frame.dropna(subset="test_accuracy").groupby("rule", sort=False)):
        mean = rows["test_accuracy"]
        bars = [(mean - rows["low"]).fillna(0), (rows["high"] - mean).fillna(0)]
        axes.errorbar(
            100 * rows["removed"],
            100 * mean,
            [100 * bar for bar in bars],
            color=PALETTE[place % len(PALETTE)],
            linestyle=DASHES[place // len(PALETTE) % len(DASHES)],
            marker="o",
            capsize=3,
            label=rule,
        )
    axes.set(xlabel="training examples removed (%)", ylabel="test accuracy (%)")
    axes.grid(alpha=0.3)
    add_legend(axes, title="removed", frameon=False)
    return axes
