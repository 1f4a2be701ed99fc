"""The picture of forgetting: how many examples were forgotten how often."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.learning.forgetting_summary import forgetting_summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_forgetting(frame: pd.DataFrame) -> "Figure":
    """A figure of 6.4 x 4.4 inches of a frame of `estimate_forgetting`; save it with `figure.savefig(path)`.

    One outline per ratio: examples, on a logarithmic axis, by their mean number of events in a run, as
    `events_histogram` counts them; a triangle to the right stands for those that were never learned.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure  # here: it takes longer to import than all of analysis
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    summaries = forgetting_summary(frame).to_dict("records")
    end = max(len(each["histogram"]) for each in summaries)
    beyond = end + 0.05 * end
    colors = colormaps["viridis"](np.linspace(0, 0.85, len(summaries)))
    for each, color in zip(summaries, colors, strict=True):
        counts = np.pad(each["histogram"], (0, end - len(each["histogram"])))
        label = f"ratio {each['ratio']:g}: {each['unforgettable']:.1%} unforgettable"
        axes.stairs(counts, np.arange(end + 1) - 0.5, label=label, linewidth=1.5, color=color)
        never_learned = round(each["never_learned"] * each["examples"])
        if never_learned:
            axes.scatter([beyond], [never_learned], marker=">", color=color)
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.7)  # so that one example can be seen
    ticks = [int(tick) for tick in MaxNLocator(8, integer=True).tick_values(0, end - 1) if 0 <= tick < end]
    axes.set_xticks([*ticks, beyond], [*map(str, ticks), "never\nlearned"])
    axes.set_xlabel("forgetting events a run, rounded up")
    axes.set_ylabel("examples")
    axes.legend(fontsize="small", frameon=False)
    return figure
