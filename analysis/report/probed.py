"""What a store's probes measured, at the ratio that a report shows."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.estimators.localization.over_runs import mean_over_runs
from analysis.estimators.localization.summary import localize, measured_ratios
from analysis.estimators.localization.units import example_units
from workers.store import Store

OWN = ("gradients", "gradient_means", "rewinding", "retraining", "neurons", "neurons_detection", "dropout", "dropped")
"""Tables of Longtail's own probes; others are of the user's."""


@dataclass(frozen=True)
class Probed:
    """Means over the measured `runs` at `ratio`, with errors over runs: `tables` are those of `localize`.

    `groups` are the two groups of examples that are compared, the memorized one last.
    `gradients` is the table `gradient_means`. `flips` has a row for each group and number of `units`: the `share` of
    the predicted examples that need no more, and `share_se`. None without the probe.
    """

    ratio: float
    runs: int
    groups: tuple[str, str]
    tables: dict[str, pd.DataFrame]
    gradients: pd.DataFrame | None
    flips: pd.DataFrame | None

    @property
    def other(self) -> list[str]:
        """The names of the user's own probes."""
        return [name for name in self.tables if name not in OWN]


def find_probed(store: Store) -> Probed:
    """What was measured at the largest ratio with a measured run. Raises EstimateError as `localize`."""
    ratio = max(measured_ratios(store))
    summary = localize(store, ratio=ratio)
    return Probed(
        ratio,
        summary.runs[ratio],
        summary.groups,
        summary.tables,
        summary.tables.get("gradient_means"),
        flipped(example_units(store, ratio=ratio)) if "neurons" in summary.tables else None,
    )


def flipped(units: pd.DataFrame) -> pd.DataFrame:
    """Of a frame of `example_units`: group, units (1 to the most tried), share, share_se, runs.

    Of the examples that are predicted as labelled; those that were not flipped need more than any number.
    """
    needed = units["units"].where(~units["censored"].astype(bool), np.inf)
    units = units.assign(needed=needed)[needed > 0]
    if units.empty:
        return pd.DataFrame(columns=["group", "units", "runs", "share", "share_se"])
    places = np.arange(1, max(int(units["units"].max()), 1) + 1)
    frames = []
    for (run, group), rows in units.groupby(["run_id", "group"], sort=False):
        share = np.searchsorted(np.sort(rows["needed"]), places, side="right") / len(rows)
        frames.append(pd.DataFrame({"run_id": run, "group": group, "units": places, "share": share}))
    return mean_over_runs(pd.concat(frames, ignore_index=True), ["group", "units"], ["share"])
