"""Histograms of scores over examples."""

from typing import TYPE_CHECKING

import pandas as pd

from analysis.plot.drawing import PALETTE, add_legend, check_columns, given_or_new_axes, ordered_colours
from analysis.statistics.bins import CSCORE_BINS, MEM_BINS, histogram
from analysis.statistics.means import without_empty_groups
from workers.campaign.plural import count_text
from workers.common.arrays import Floats
from workers.errors import EstimateError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def memorization(frame: pd.DataFrame, axes: "Axes | None" = None) -> "Axes":
    """Examples, on a logarithmic axis, by mem: the 18 bins of Feldman and Zhang (NeurIPS 2020); an outline per ratio.

    `frame` as `estimate_memorization` gives it. Examples that all runs trained on, or none, have no value and are left
    out. Raises EstimateError for a frame without the columns ratio, mem, se, n_in, n_out, and for one without a value.
    """
    check_columns(frame, "ratio", "mem", "se", "n_in", "n_out")
    valued = without_empty_groups(frame[frame["mem"].notna()])
    _check_some(valued, "mem")
    axes = given_or_new_axes(axes, 6.4, 4.0)
    groups = {ratio: valued[valued["ratio"] == ratio] for ratio in sorted(valued["ratio"].unique())}
    for (ratio, rows), colour in zip(groups.items(), ordered_colours(len(groups)), strict=True):
        runs = (rows["n_in"] + rows["n_out"]).max()
        label = f"ratio {ratio:g}: {count_text(runs, 'run')},\nmedian standard error {rows['se'].median():.2g}"
        _outline(axes, rows["mem"].to_numpy(), MEM_BINS, -1, label, colour, is_only=len(groups) == 1)
    _label(axes, "memorization", -1)
    if len(groups) > 1:
        add_legend(axes, loc="upper left", frameon=False)  # hardly any mem is negative
    else:
        axes.set_title(
            f"ratio {ratio:g}: {count_text(len(valued), 'example')}, {count_text(runs, 'run')},\n{_errors(valued)}",
            fontsize="medium",
        )
    return axes


def cscore(frame: pd.DataFrame, axes: "Axes | None" = None) -> "Axes":
    """Examples, on a logarithmic axis, by C-score in 20 bins. Examples without a value are left out.

    `frame` as `analysis.cscore` gives it. Raises EstimateError for a frame without the columns cscore, se, n_ratios,
    n_out, and for one without a value.
    """
    check_columns(frame, "cscore", "se", "n_ratios", "n_out")
    valued = frame[frame["cscore"].notna()]
    _check_some(valued, "cscore")
    axes = given_or_new_axes(axes, 6.4, 4.0)
    ratios = valued["n_ratios"].max()
    _outline(axes, valued["cscore"].to_numpy(), CSCORE_BINS, 0, None, PALETTE[0], is_only=True)
    _label(axes, "C-score", 0)
    at = f"{count_text(ratios, 'ratio')}, held out by {_span(valued['n_out'])} runs"
    axes.set_title(f"{count_text(len(valued), 'example')}, {at},\n{_errors(valued)}", fontsize="medium")
    return axes


def _outline(
    axes: "Axes", values: Floats, bins: int, low: int, label: str | None, colour: object, *, is_only: bool
) -> None:
    counts, edges = histogram(values, bins, low)
    # One colour for edge and face: `color` also draws the outline of bars that stand side by side.
    axes.stairs(counts, edges, fill=is_only, color=colour, linewidth=1.5, label=label)


def _label(axes: "Axes", name: str, low: float) -> None:
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.7)  # so that one example can be seen
    axes.set(xlabel=name, ylabel="examples", xlim=(low, 1))


def _span(counts: pd.Series) -> str:
    return f"{counts.min():,}" if counts.min() == counts.max() else f"{counts.min():,} to {counts.max():,}"


def _errors(rows: pd.DataFrame) -> str:
    median, most = rows["se"].quantile([0.5, 0.9])
    return f"standard error: median {median:.2g}, 90th percentile {most:.2g}"


def _check_some(frame: pd.DataFrame, column: str) -> None:
    if frame.empty:
        raise EstimateError(f"frame: has no example with a value of {column}")
