"""Means and deviations over runs of an output of each training example, with and without the example in the subset."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.reading.examples import Labels, read_labels
from analysis.reading.recorded_output import recorded_output
from analysis.reading.selection import check_random_subsets, check_some_run, scan_epoch, select_ratios
from analysis.reading.subset_groups import shared_subset
from analysis.statistics.moments import RunMoments
from workers.campaign.campaign import PPM
from workers.store import Store

ExampleOutput = Literal["margin", "loss", "probability"]
"""Outputs that have a mean. The mean of predictions is the accuracy, which correctness has."""


@dataclass(frozen=True)
class RatioMoments:
    """One ratio's runs that did not diverge: `inside` of those that trained on an example, `outside` of the others.

    Values that are not finite count as missing: `n` of the moments is the number of runs with a value.
    """

    ratio_ppm: int
    inside: RunMoments
    outside: RunMoments

    @property
    def ratio(self) -> float:
        """Subset size over N."""
        return self.ratio_ppm / PPM


@dataclass(frozen=True)
class OutputMoments:
    """The examples' labels and the moments of an output at each ratio, ascending."""

    labels: Labels
    ratios: tuple[RatioMoments, ...]


def read_output_moments(
    store: Store, output: ExampleOutput, ratio: float | None = None, epoch: int | None = None
) -> OutputMoments:
    """The moments at one ratio, or at every committed one, at a recorded epoch (None: the last), in one pass.

    Raises EstimateError where the output is not recorded, for a ratio or an epoch that the store does not have, where
    subsets are explicit and where all runs diverged; DamagedFileError for an unreadable file.
    """
    check_random_subsets(store)
    column = recorded_output(store, output, "train")
    chosen = select_ratios(store, ratio)
    shape = (store.header.num_train,)
    moments = {ratio_ppm: RatioMoments(ratio_ppm, RunMoments(shape), RunMoments(shape)) for ratio_ppm in chosen}
    runs = diverged = 0
    for rows in scan_epoch(store, ("repetition", "subset", column), chosen[0] if ratio is not None else None, epoch):
        if rows.shard.ratio_ppm not in moments:  # committed since the scan began
            continue
        at = moments[rows.shard.ratio_ppm]
        values = store.vectors(rows.shard, rows.table, column)[rows.used].astype(np.float64)
        values[~np.isfinite(values)] = np.nan
        subsets = store.bits(rows.shard, rows.table, "subset")[rows.used]
        repetitions = rows.table["repetition"].to_numpy()[rows.used].tolist()
        for repetition, subset, of_run in zip(repetitions, subsets, values, strict=True):
            group = shared_subset(store, repetition)
            at.inside.add(np.where(subset, of_run, np.nan), group)
            at.outside.add(np.where(subset, np.nan, of_run), group)
        runs += len(values)
        diverged += rows.diverged
    check_some_run(store.uri, runs, diverged, ratio)
    return OutputMoments(read_labels(store), tuple(moments[ratio_ppm] for ratio_ppm in chosen))
