"""Predictions of held-out models: how many runs that did not train on an example predict each class for it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.reading.recorded_output import recorded_output
from analysis.reading.selection import check_random_subsets, scan_epoch, select_ratios
from workers.common.arrays import Floats, Integers
from workers.errors import DamagedFileError, NoEstimateError
from workers.store import Store
from workers.store.output_columns import OutputColumn, output_columns


@dataclass(frozen=True)
class HeldOutPredictions:
    """Sums over the runs of one ratio or of several: `counts` int32[N, C] by predicted class, `runs` int64[N].

    `runs` includes those whose logits were not finite, which predict no class; diverged runs are left out.
    """

    source: str
    counts: npt.NDArray[np.int32]
    runs: Integers

    @property
    def label(self) -> Integers:
        """int64[N]: the class that most runs predict, of equal ones the lowest; -1 where no run predicts one."""
        return np.where(self.counts.any(axis=1), self.counts.argmax(axis=1), -1)

    @property
    def share(self) -> Floats:
        """float64[N]: the share of the runs that predict it; NaN where no run held the example out."""
        return np.where(self.runs > 0, self.counts.max(axis=1) / np.maximum(self.runs, 1), np.nan)

    def probabilities(self) -> Floats:
        """float64[N, C]: the share of held-out runs that predict each class; rows sum to 1.

        This is the `pred_probs` that cleanlab expects. Raises EstimateError where an example has no prediction.
        """
        predicted = self.counts.sum(axis=1)
        if (predicted == 0).any():
            raise NoEstimateError(
                f"{self.source}: has no held-out prediction of {np.count_nonzero(predicted == 0):,} of "
                f"{len(predicted):,} training examples, the first is {int(np.argmin(predicted > 0))}: train more runs"
            )
        shares: Floats = self.counts / predicted[:, None]
        return shares


def count_predictions(store: Store, ratio: float | None = None, epoch: int | None = None) -> HeldOutPredictions:
    """Held-out predictions at one ratio, or over the runs of every committed one; `epoch` None: the last.

    Takes 4 N C bytes. Raises EstimateError where predictions are not recorded, for a ratio or an epoch that the store
    does not have, and where subsets are explicit; DamagedFileError for an unreadable file or a class that there is not.
    """
    check_random_subsets(store)
    column = recorded_output(store, "prediction", "train")
    header = store.header
    chosen = select_ratios(store, ratio)
    counts = np.zeros((header.num_train, len(header.class_names)), dtype=np.int32)
    runs = np.zeros(header.num_train, dtype=np.int64)
    for rows in scan_epoch(store, ("subset", column), chosen[0] if ratio is not None else None, epoch):
        held_out = ~store.bits(rows.shard, rows.table, "subset")[rows.used]
        predicted = store.vectors(rows.shard, rows.table, column)[rows.used]
        if predicted.size and not -1 <= predicted.min() <= predicted.max() < counts.shape[1]:
            classes = f"0..{counts.shape[1] - 1}"
            raise DamagedFileError(f"{store.uri}: {rows.shard.shard_id} has a predicted class outside {classes}")
        runs += held_out.sum(axis=0)
        for mask, classes in zip(held_out & (predicted >= 0), predicted, strict=True):
            ids = np.flatnonzero(mask)
            counts[ids, classes[ids]] += 1
    return HeldOutPredictions(store.uri, counts, runs)


def read_predictions(store: Store, ratio: float | None = None) -> HeldOutPredictions | None:
    """As `count_predictions`; None where the campaign does not record predictions."""
    recorded = OutputColumn("prediction", "train") in output_columns(store.header.record)
    return count_predictions(store, ratio) if recorded else None
