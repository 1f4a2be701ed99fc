"""Plots of a value against the number of runs, or the share of examples removed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from analysis.plot.drawing import DASHES, PALETTE, add_legend, check_columns, given_or_new_axes, ink
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


def removal(frame: pd.DataFrame, axes: "Axes | None" = None, *, by_score: bool = False) -> "Axes":
    """Test accuracy against the share of the examples removed: a line for each rule of a frame of `removal_curve`.

    `by_score`: against their mean score, of a frame of `with_removed_scores`. Bars go from `low` to `high`; rules by
    threshold are one line, with the scores at its points. A point without an accuracy is left out, one without an
    interval has no bar.
    """
    axes = given_or_new_axes(axes, 6.4, 4.4)
    rules = list(frame["rule"].drop_duplicates())
    shown = frame.dropna(subset=["test_accuracy", *(["removed_score"] if by_score else [])])
    x = shown["removed_score"] if by_score else 100 * shown["removed"]
    _rule_lines(axes, shown, rules, x, ("test_accuracy", "low", "high"))
    xlabel = "mean score of the examples removed" if by_score else "training examples removed (%)"
    axes.set(xlabel=xlabel, ylabel="test accuracy (%)")
    axes.grid(alpha=0.3)
    add_legend(axes, title="removed", frameon=False)
    return axes


def marginal_utility(frame: pd.DataFrame, axes: "Axes | None" = None) -> "Axes":
    """What the examples removed are worth beyond as many random ones, against the share left: a line for each rule.

    Of a frame of `removal_curve`: the accuracy after random removal less the rule's, with its interval. Raises
    NoEstimateError where no rule has a control.
    """
    check_columns(frame, "rule", "removed", "threshold", "difference", "difference_low", "difference_high")
    shown = frame.dropna(subset="difference")
    if shown.empty:
        raise NoEstimateError("frame: has no difference: subsets.drop must have the rule random beside others")
    axes = given_or_new_axes(axes, 6.4, 4.4)
    rules = list(frame["rule"].drop_duplicates())
    names = ("difference", "difference_low", "difference_high")
    _rule_lines(axes, shown, rules, 100 * (1 - shown["removed"]), names)
    axes.axhline(0, color=ink(axes), linewidth=0.8, alpha=0.6)
    axes.set(xlabel="training examples left (%)", ylabel="accuracy: random removal less the rule's (points)")
    axes.grid(alpha=0.3)
    add_legend(axes, title="removed", frameon=False)
    return axes


def _rule_lines(
    axes: "Axes", frame: pd.DataFrame, rules: list[str], x: "pd.Series[float]", names: Sequence[str]
) -> None:
    """A line in percent for each of the rules, in the colour of its place; `names` of value, lower and upper limit."""
    for rule, rows in frame.assign(x=x).sort_values("x").groupby("rule", sort=False):
        value, low, high = (100 * rows[name] for name in names)
        place = rules.index(str(rule))
        axes.errorbar(
            rows["x"],
            value,
            [(value - low).fillna(0), (high - value).fillna(0)],
            color=PALETTE[place % len(PALETTE)],
            linestyle=DASHES[place // len(PALETTE) % len(DASHES)],
            marker="o",
            capsize=3,
            label=rule,
        )
        for row in rows.assign(value=value).dropna(subset="threshold").to_dict("records"):
            text = f"{row['threshold']:.3g}"
            at = (row["x"], row["value"])
            axes.annotate(text, at, xytext=(4, 4), textcoords="offset points", fontsize="x-small")
