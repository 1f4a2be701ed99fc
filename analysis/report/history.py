"""Learning history of single examples: the share of runs that predict an example correctly, by epoch."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.reading.sequences import At, scan_sequences
from workers.store import Store


@dataclass(frozen=True)
class History:
    """`share` float64[n, P] of the `runs` int64[n] at one ratio that looked at an example at all, at epochs int64[P].

    NaN where no run looked at the example in that epoch.
    """

    at: At
    ratio: float
    epochs: npt.NDArray[np.int64]
    share: npt.NDArray[np.float64]
    runs: npt.NDArray[np.int64]


def learning_history(store: Store, at: At, ratio: float, ids: npt.NDArray[np.int64], most: int) -> History:
    """The history of the examples `ids` at up to `most` epochs, evenly spread, the first and the last among them.

    Takes 8 bytes for each of these examples and epochs, and reads the runs of the ratio once. Raises EstimateError as
    `scan_sequences`.
    """
    epochs = np.zeros(0, dtype=np.int64)
    presented = right = np.zeros((0, len(ids)), dtype=np.uint32)
    runs = np.zeros(len(ids), dtype=np.int64)
    for sequence in scan_sequences(store, at, ratio):
        places = _spread(len(sequence.epochs), most)
        if not len(epochs):
            epochs = sequence.epochs[places]
            presented, right = np.zeros((2, len(places), len(ids)), dtype=np.uint32)
        looked = sequence.seen[:, ids]
        presented += looked[places]
        right += sequence.correct[:, ids][places]
        runs += looked.any(axis=0)
    share = np.where(presented > 0, right / np.maximum(presented, 1), np.nan)
    return History(at, ratio, epochs, share.T, runs)


def _spread(count: int, most: int) -> npt.NDArray[np.int64]:
    """The places of up to `most` of `count` things, evenly spread, with both ends."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
