"""Plots of detection: scores that find noisy labels, and proxies of the C-score."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.plot.drawing import DASHES, PALETTE, add_legend, given_or_new_axes, given_or_new_panels, ink
from workers.common.arrays import Objects

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_CURVES = 20
"""As many colours and dashes as can be told apart."""

_ROW_INCHES = 0.32
"""Inches of a row of the picture of proxies."""


def noise(table: pd.DataFrame, curves: pd.DataFrame, axes: Any = None) -> Objects:
    """ROC and precision-recall curves, of frames of `noise_detection` and `noise_curves`; returns the two axes.

    Each score at the largest of its ratios, in the order of their AUC, the best MAX_CURVES where there are more.
    False-positive rates are on a logarithmic axis: good scores differ in their first false positives. Raises
    EstimateError for `axes` that are not two.
    """
    panels = given_or_new_panels(axes, (1, 2), 11, 5.2)
    roc, precision = panels
    of_scores = table.dropna(subset="auc").sort_values("ratio").groupby("score", sort=False).tail(1).sort_index()
    best = of_scores.sort_values("auc", ascending=False, kind="stable").head(MAX_CURVES)
    lowest = 0.5 / max(1, (table["examples"] - table["noisy"]).max())
    for place, row in enumerate(best.to_dict("records")):
        score, ratio = row["score"], row["ratio"]
        of_ratio = curves["ratio"].isna() if ratio != ratio else curves["ratio"] == ratio
        at = curves[(curves["score"] == score) & of_ratio]
        style: Any = {
            "color": PALETTE[place % len(PALETTE)],
            "linestyle": DASHES[place // len(PALETTE)],
            "linewidth": 1.2,
        }
        name = score if ratio != ratio else f"{score} at {ratio:g}"
        roc.plot(at["false_positive_rate"].clip(lower=lowest), at["recall"], **style)
        label = f"{name}: AUC {row['auc']:.4f}, AP {row['average_precision']:.3f}"
        # Steps, of which the area is the average precision: straight lines would promise more.
        first = pd.DataFrame({"recall": [0.0], "precision": at["precision"].head(1)})
        steps = pd.concat([first, at[["recall", "precision"]]])
        precision.step(steps["recall"], steps["precision"], where="pre", label=label, **style)
    chance = np.geomspace(lowest, 1, 200)
    roc.plot(chance, chance, color=ink(roc), linewidth=0.8, linestyle="--")
    share = table["noisy"].max() / table["examples"].max()
    precision.axhline(share, color=ink(precision), linewidth=0.8, linestyle="--", label=f"by chance: {share:.3f}")
    _label(roc, "false-positive rate", "recall", "ROC")
    roc.set(xscale="log", xlim=(lowest, 1.2))
    _label(precision, "recall", "precision", "precision and recall")
    add_legend(precision, axes is None)
    return panels


def proxies(table: pd.DataFrame, axes: "Axes | None" = None) -> "Axes":
    """Rank correlations with the C-score, of a frame of `proxy_agreement`, best proxy on top.

    Dots are Spearman's correlation and Kendall's tau-b, lines their intervals.
    """
    rows = table.sort_values("spearman", kind="stable", na_position="first")
    is_own, axes = axes is None, given_or_new_axes(axes, 8, 1.2 + _ROW_INCHES * len(rows))
    places = range(len(rows))
    for name, label, marker, shift, colour in (
        ("spearman", "Spearman", "o", 0.12, PALETTE[0]),
        ("kendall", "Kendall tau-b", "s", -0.12, PALETTE[1]),
    ):
        heights = [place + shift for place in places]
        axes.plot(rows[name], heights, marker, markersize=4, label=label, color=colour)
        axes.hlines(heights, rows[f"{name}_low"], rows[f"{name}_high"], color=colour, linewidth=1)
    axes.set_yticks(list(places), rows["proxy"])
    axes.axvline(0, color=ink(axes), linewidth=0.8)
    axes.set_xlabel("rank correlation with the C-score")
    axes.grid(axis="x", alpha=0.3)
    add_legend(axes, is_own)
    return axes


def _label(axes: "Axes", x: str, y: str, title: str) -> None:
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel=x, ylabel=y)
    axes.set_title(title, fontsize="medium")
