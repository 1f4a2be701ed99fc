"""The picture of consistency profiles: mean held-out correctness of groups of examples over the ratios."""

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_profiles(frame: pd.DataFrame) -> "Figure":
    """A figure of 6.8 x 4.4 inches of a frame of `group_profiles`; save it with `figure.savefig(path)`.

    One line per group; the bars reach one standard error to each side.
    """
    from matplotlib.figure import Figure  # here: it takes longer to import than all of analysis

    figure = Figure(figsize=(6.8, 4.4), layout="constrained")
    axes = figure.add_subplot()
    draw_groups(axes, frame, "ratio", "consistency")
    axes.set(xlabel="subset size over data set size", ylabel="correct when held out", ylim=(-0.02, 1.02))
    figure.legend(loc="outside right upper", fontsize="small", frameon=False)
    return figure


def draw_groups(axes: "Axes", frame: pd.DataFrame, x: str, y: str) -> None:
    """A line for each group, `y` over `x` with its standard errors, coloured from the first group to the last."""
    from matplotlib import colormaps

    last = max(int(frame["group"].max()), 1)
    for group in range(last + 1):
        rows = frame[frame["group"] == group]
        if rows.empty:
            continue
        name = rows["name"].iloc[0]
        colour = colormaps["viridis"](0.92 * group / last)
        axes.errorbar(
            rows[x],
            rows[y],
            yerr=rows["se"].fillna(0),
            color=colour,
            label=_plain(name),
            linewidth=1.2,
            marker=".",
            capsize=2,
        )
    axes.grid(alpha=0.3)


def _plain(name: str) -> str:
    """A dollar sign would start a formula, an underscore hides a line from the legend."""
    text = name.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text
