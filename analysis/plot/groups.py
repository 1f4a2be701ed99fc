"""Plots of groups of examples: consistency profiles over ratios, learning curves over epochs."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.plot.drawing import add_legend, given_or_new_axes, given_or_new_panels, ordered_colours, plain
from workers.common.arrays import Objects

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_KINDS = {
    "presentations": "at presentations",
    "evaluations": "evaluated, trained on",
    "heldout": "evaluated, held out",
}


def profiles(frame: pd.DataFrame, axes: "Axes | None" = None) -> "Axes":
    """Mean correctness of held-out examples over the ratios: a line for each group of a frame of `group_profiles`.

    The bars reach one standard error to each side, over what the frame's column `over` says.
    """
    is_own, axes = axes is None, given_or_new_axes(axes, 6.8, 4.4)
    _draw_groups(axes, frame, "ratio", "consistency")
    axes.set(xlabel="subset size over data set size", ylabel="correct when held out", ylim=(-0.02, 1.02))
    over = ", ".join(frame["over"].unique())
    add_legend(axes, is_own, title=f"bars: ± 1 standard error over {over}", title_fontsize="x-small")
    return axes


def learning(frame: pd.DataFrame, axes: Any = None) -> Objects:
    """Mean correctness of groups, epoch after epoch: a panel for each kind of look in a frame of `learning_curves`.

    Of the largest ratio there is. The bars reach one standard error to each side, over runs. `axes` is as many axes as
    there are kinds, and so is what is returned. Raises EstimateError for another number of them.
    """
    shown = frame[frame["ratio"] == frame["ratio"].max()]
    kinds = [at for at in _KINDS if at in set(shown["at"])]
    panels = given_or_new_panels(axes, (1, len(kinds)), 2.6 + 3.8 * len(kinds), 4.2, sharey=True)
    for panel, at in zip(panels, kinds, strict=True):
        _draw_groups(panel, shown[shown["at"] == at], "epoch", "correctness")
        panel.set(xlabel="epoch", ylim=(-0.02, 1.02))
        panel.set_title(_KINDS[at], fontsize="medium")
        panel.xaxis.get_major_locator().set_params(integer=True)
    panels[0].set_ylabel(f"correct, ratio {shown['ratio'].max():g}")
    add_legend(panels[-1], axes is None, title="bars: ± 1 standard error over runs", title_fontsize="x-small")
    return panels


def _draw_groups(axes: "Axes", frame: pd.DataFrame, x: str, y: str) -> None:
    """A line for each group, `y` over `x` with its standard errors, coloured from the first group to the last."""
    for group, colour in enumerate(ordered_colours(int(frame["group"].max()) + 1)):
        rows = frame[frame["group"] == group]
        if rows.empty:
            continue
        axes.errorbar(
            rows[x],
            rows[y],
            yerr=rows["se"].fillna(0),
            color=colour,
            label=plain(rows["name"].iloc[0]),
            linewidth=1.2,
            marker=".",
            capsize=2,
        )
    axes.grid(alpha=0.3)
