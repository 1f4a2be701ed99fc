"""The picture of a removal curve: test accuracy against the share removed, a line for each rule."""

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_removal(frame: pd.DataFrame) -> "Figure":
    """A figure of 6.4 x 4.4 inches of `removal_curve`'s frame; save it with `figure.savefig(path)`.

    Bars go from `low` to `high`. A point without an accuracy is left out, one without an interval has no bar.
    """
    from matplotlib.figure import Figure  # here: it takes longer to import than all of analysis

    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    for rule, rows in frame.dropna(subset="test_accuracy").groupby("rule", sort=False):
        mean = rows["test_accuracy"]
        bars = [(mean - rows["low"]).fillna(0), (rows["high"] - mean).fillna(0)]
        axes.errorbar(100 * rows["removed"], 100 * mean, [100 * bar for bar in bars], marker="o", capsize=3, label=rule)
    axes.set_xlabel("training examples removed (%)")
    axes.set_ylabel("test accuracy (%)")
    axes.grid(alpha=0.3)
    if axes.has_data():
        axes.legend(title="removed", frameon=False)
    return figure
