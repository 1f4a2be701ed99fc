"""Scatter plots of two scores of the same examples."""

from typing import TYPE_CHECKING

import pandas as pd

from analysis.plot.drawing import ORDERED_PALETTE, PALETTE, check_columns, given_or_new_axes, ink, plain
from analysis.scoring.agreement import Agreement, spearman
from analysis.statistics.means import without_empty_groups
from workers.campaign.plural import count_text
from workers.errors import EstimateError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DOTS = 3000
"""Up to so many examples are drawn one by one; more would hide each other, and are counted in hexagons."""

_LABEL = {"memorization": "memorization", "cscore": "C-score", "forgetting": "forgetting events/run"}
_MAX_NAME = 60
"""Characters of a name that fit along an axis."""


def agreement(comparison: Agreement, axes: "Axes | None" = None) -> "Axes":
    """One set of scores against the other, with the line on which they are equal: see `analysis.compare`."""
    axes = given_or_new_axes(axes, 6.4, 5.6)
    _draw_examples(axes, comparison.scores["a"], comparison.scores["b"])
    # The same scale on both axes.
    low, high = min(axes.get_xlim()[0], axes.get_ylim()[0]), max(axes.get_xlim()[1], axes.get_ylim()[1])
    axes.plot([low, high], [low, high], color=ink(axes), linewidth=0.8, linestyle="--")
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    label = _LABEL[comparison.estimate]
    axes.set_xlabel(f"{label}\n{plain(comparison.name_a, _MAX_NAME)}")
    axes.set_ylabel(f"{label}\n{plain(comparison.name_b, _MAX_NAME)}")
    numbers = f"Spearman {comparison.spearman:.3f}, Pearson {comparison.pearson:.3f}"
    axes.set_title(f"{count_text(len(comparison.scores), 'example')}: {numbers}", fontsize="medium")
    return axes


def mem_against_cscore(mem: pd.DataFrame, cscore: pd.DataFrame, axes: "Axes | None" = None) -> "Axes":
    """Memorization against C-score, of the examples that have both, with Spearman's correlation.

    Frames as `estimate_memorization` (at one ratio) and `analysis.cscore` give them. Raises EstimateError for frames
    without the columns ratio, example_id, mem, n_in, n_out and example_id, cscore, for several ratios, and where no
    example has both.
    """
    check_columns(mem, "ratio", "example_id", "mem", "n_in", "n_out")
    check_columns(cscore, "example_id", "cscore")
    ratios = sorted(mem["ratio"].unique())
    if len(ratios) > 1:
        ratios_text = ", ".join(f"{ratio:g}" for ratio in ratios)
        raise EstimateError(f"mem: must be of one ratio, as in view.memorization(0.5), got {ratios_text}")
    both = without_empty_groups(mem).merge(cscore[["example_id", "cscore"]], on="example_id")
    both = both.dropna(subset=["mem", "cscore"])
    if both.empty:
        raise EstimateError("mem, cscore: must have a value of some example in common, got none")
    axes = given_or_new_axes(axes, 6.4, 4.8)
    _draw_examples(axes, both["cscore"], both["mem"])
    axes.axhline(0, color=ink(axes), linewidth=0.8)
    axes.set(xlabel="C-score", ylabel=f"memorization at ratio {ratios[0]:g}")
    rank_correlation = spearman(both["cscore"].to_numpy(), both["mem"].to_numpy())
    runs = (both["n_in"] + both["n_out"]).max()
    of = f"{count_text(len(both), 'example')}, {count_text(runs, 'run')} at the ratio"
    title = f"{of}: Spearman {rank_correlation:.3f}".replace("-", "−")
    axes.set_title(title, fontsize="medium")
    return axes


def _draw_examples(axes: "Axes", x: pd.Series, y: pd.Series) -> None:
    if len(x) <= _DOTS:
        axes.scatter(x, y, s=10, alpha=0.4, linewidths=0, color=PALETTE[0])
    else:
        from matplotlib.colors import LinearSegmentedColormap

        shades = LinearSegmentedColormap.from_list("longtail", ORDERED_PALETTE[::-1])
        hexagons = axes.hexbin(x, y, gridsize=60, bins="log", mincnt=1, cmap=shades)
        axes.figure.colorbar(hexagons, ax=axes, label="examples")
