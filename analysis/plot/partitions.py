"""Plot of the partitions of a curriculum: their accuracies, epoch after epoch."""

from typing import TYPE_CHECKING

import pandas as pd

from analysis.plot.drawing import DASHES, PALETTE, add_legend, check_columns, given_or_new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def partitions(frame: pd.DataFrame, axes: "Axes | None" = None) -> "Axes":
    """Accuracy of each partition over the epochs, of the largest ratio in a frame of `partition_curves`.

    The background has the colour of the partition that was trained in the epoch, where that epoch was recorded. The
    bars reach one standard error to each side, over runs. Raises EstimateError for a frame without its columns.
    """
    from matplotlib.ticker import MaxNLocator

    check_columns(frame, "ratio", "partition", "epoch", "trained", "accuracy", "se")
    is_own, axes = axes is None, given_or_new_axes(axes, 6.8, 4.2)
    shown = frame[frame["ratio"] == frame["ratio"].max()]
    for number, rows in shown.groupby("partition"):
        place = int(number) - 1
        colour = PALETTE[place % len(PALETTE)]
        for epoch in rows.loc[rows["trained"], "epoch"]:
            axes.axvspan(epoch - 1, epoch, color=colour, alpha=0.12, linewidth=0)
        axes.errorbar(
            rows["epoch"],
            rows["accuracy"],
            yerr=rows["se"].fillna(0),
            color=colour,
            linestyle=DASHES[place // len(PALETTE) % len(DASHES)],
            label=f"partition {number}",
            linewidth=1.2,
            marker=".",
            capsize=2,
        )
    axes.set(xlabel="epoch", ylabel="correct when evaluated", ylim=(-0.02, 1.02))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    add_legend(
        axes,
        is_own,
        title="background: trained in the epoch\nbars: ± 1 standard error over runs",
        title_fontsize="x-small",
    )
    return axes
