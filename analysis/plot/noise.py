"""The picture of noise detection: each score's ROC and precision-recall curve."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_CURVES = 20
"""As many colours as can be told apart."""


def plot_noise(table: pd.DataFrame, curves: pd.DataFrame) -> "Figure":
    """A figure of 11 x 5.2 inches of frames of `noise_detection` and `noise_curves`; save it with `figure.savefig`.

    Each score at the largest of its ratios, in the order of their AUC, the best MAX_CURVES where there are more.
    False-positive rates are on a logarithmic axis: good scores differ in their first false positives.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure  # here: it takes longer to import than all of analysis

    figure = Figure(figsize=(11, 5.2), layout="constrained")
    roc, precision = figure.subplots(1, 2)
    of_scores = table.dropna(subset="auc").sort_values("ratio").groupby("score", sort=False).tail(1).sort_index()
    best = of_scores.sort_values("auc", ascending=False, kind="stable").head(MAX_CURVES)
    lowest = 0.5 / max(1, (table["examples"] - table["noisy"]).max())
    for place, row in enumerate(best.to_dict("records")):
        score, ratio = row["score"], row["ratio"]
        of_ratio = curves["ratio"].isna() if ratio != ratio else curves["ratio"] == ratio
        at = curves[(curves["score"] == score) & of_ratio]
        colour = colormaps["tab20"](place)
        name = score if ratio != ratio else f"{score} at {ratio:g}"
        roc.plot(at["false_positive_rate"].clip(lower=lowest), at["recall"], color=colour, linewidth=1.2)
        label = f"{name}: AUC {row['auc']:.4f}, AP {row['average_precision']:.3f}"
        # Steps, of which the area is the average precision: straight lines would promise more.
        first = pd.DataFrame({"recall": [0.0], "precision": at["precision"].head(1)})
        steps = pd.concat([first, at[["recall", "precision"]]])
        precision.step(steps["recall"], steps["precision"], where="pre", color=colour, linewidth=1.2, label=label)
    chance = np.geomspace(lowest, 1, 200)
    roc.plot(chance, chance, color="black", linewidth=0.8, linestyle="--")
    share = table["noisy"].max() / table["examples"].max()
    precision.axhline(share, color="black", linewidth=0.8, linestyle="--", label=f"by chance: {share:.3f}")
    _label(roc, "false-positive rate", "recall", "ROC")
    roc.set(xscale="log", xlim=(lowest, 1.2))
    _label(precision, "recall", "precision", "precision and recall")
    figure.legend(loc="outside right upper", fontsize="small", frameon=False)
    return figure


def _label(axes: "Axes", x: str, y: str, title: str) -> None:
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel=x, ylabel=y)
    axes.set_title(title, fontsize="medium")
