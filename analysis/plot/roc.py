"""Plots of attacks: ROC curves on logarithmic axes."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.plot.drawing import DASHES, PALETTE, add_legend, check_columns, given_or_new_axes, ink

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def audit(attacks: pd.DataFrame, curves: pd.DataFrame, axes: "Axes | None" = None) -> "Axes":
    """ROC curves of membership inference, of the frames `attacks` and `curves` of an audit.

    Both axes are logarithmic: an attack is judged by how many members it finds at few false positives. Points without
    a false positive, or without a member, lie on the border. Dashed: what guesses find.
    """
    check_columns(curves, "attack", "false_positive_rate", "recall")
    check_columns(attacks, "attack", "auc", "members", "non_members")
    is_own, axes = axes is None, given_or_new_axes(axes, 7, 4.6)
    pairs = max(1, int(attacks[["members", "non_members"]].max().max()))
    lowest = 0.5 / pairs
    for place, row in enumerate(attacks.dropna(subset="auc").to_dict("records")):
        points = curves[curves["attack"] == row["attack"]]
        axes.plot(
            points["false_positive_rate"].clip(lower=lowest),
            points["recall"].clip(lower=lowest),
            color=PALETTE[place % len(PALETTE)],
            linestyle=DASHES[place % len(DASHES)],
            linewidth=1.2,
            label=f"{row['attack']}: AUC {row['auc']:.4f}",
        )
    chance = np.geomspace(lowest, 1, 200)
    axes.plot(chance, chance, color=ink(axes), linewidth=0.8, linestyle="--")
    axes.set(xscale="log", yscale="log", xlim=(lowest, 1.2), ylim=(lowest, 1.2))
    axes.set(xlabel="false-positive rate", ylabel="true-positive rate")
    axes.grid(alpha=0.3)
    add_legend(axes, is_own)
    return axes
