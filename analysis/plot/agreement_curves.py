"""Plots of agreement over thresholds: of two stores, or of several pairs of stores side by side."""

from typing import TYPE_CHECKING

import pandas as pd

from analysis.plot.drawing import DASHES, PALETTE, add_legend, check_columns, given_or_new_panels, plain
from workers.errors import NoEstimateError

if TYPE_CHECKING:
    from workers.common.arrays import Objects

_PANELS = (("jaccard", "Jaccard index"), ("difference", "mean difference over the union"))


def agreement_curve(frame: pd.DataFrame, axes: "Objects | None" = None) -> "Objects":
    """Jaccard index and mean difference of what two sides select, by threshold: two panels, with intervals.

    Of a frame with CURVE_COLUMNS of `analysis.scoring.agreement`; a line for each value of `compared`, so that frames
    of several comparisons can be joined. Raises EstimateError for a frame that lacks columns, NoEstimateError for one
    without a value.
    """
    names = [f"{measure}{end}" for measure, _ in _PANELS for end in ("", "_low", "_high")]
    check_columns(frame, "compared", "threshold", *names)
    if not frame[["jaccard", "difference"]].notna().any(axis=None):
        raise NoEstimateError("frame: has no value: nothing is selected at any threshold")
    panels = given_or_new_panels(axes, (1, 2), 9.6, 4.2)
    for panel, (measure, label) in zip(panels, _PANELS, strict=True):
        for place, (compared, rows) in enumerate(frame.groupby("compared", sort=False)):
            shown = rows.dropna(subset=measure).sort_values("threshold")
            value, low, high = (shown[f"{measure}{end}"] for end in ("", "_low", "_high"))
            panel.errorbar(
                shown["threshold"],
                value,
                [(value - low).fillna(0).clip(lower=0), (high - value).fillna(0).clip(lower=0)],
                color=PALETTE[place % len(PALETTE)],
                linestyle=DASHES[place // len(PALETTE) % len(DASHES)],
                linewidth=1.2,
                marker="o",
                markersize=4,
                capsize=2,
                label=plain(compared),
            )
        panel.set(xlabel="threshold", ylabel=label)
        panel.grid(alpha=0.3)
    panels[0].set_ylim(-0.02, 1.02)
    panels[1].set_ylim(bottom=0)
    add_legend(panels[0])
    return panels
