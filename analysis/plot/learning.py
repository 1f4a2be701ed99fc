"""The picture of learning curves: mean correctness of groups of examples, epoch after epoch."""

from typing import TYPE_CHECKING

import pandas as pd

from analysis.plot.profiles import draw_groups

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TITLES = {
    "presentations": "at presentations",
    "evaluations": "evaluated, trained on",
    "heldout": "evaluated, held out",
}


def plot_learning(frame: pd.DataFrame) -> "Figure":
    """A figure with a panel for each kind of look in a frame of `learning_curves`; save it with `figure.savefig(path)`.

    Of the largest ratio there is. The bars reach one standard error to each side, over runs.
    """
    from matplotlib.figure import Figure  # here: it takes longer to import than all of analysis

    shown = frame[frame["ratio"] == frame["ratio"].max()]
    kinds = [at for at in _TITLES if at in set(shown["at"])]
    figure = Figure(figsize=(2.6 + 3.8 * len(kinds), 4.2), layout="constrained")
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axes, at in zip(panels, kinds, strict=True):
        draw_groups(axes, shown[shown["at"] == at], "epoch", "correctness")
        axes.set(xlabel="epoch", ylim=(-0.02, 1.02))
        axes.set_title(_TITLES[at], fontsize="medium")
        axes.xaxis.get_major_locator().set_params(integer=True)
    panels[0].set_ylabel(f"correct, ratio {shown['ratio'].max():g}")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize="small", frameon=False)
    return figure
