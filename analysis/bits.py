"""The subsets and the test correctness of one ratio, packed: influence needs every run, at one bit per example."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.examples import Labels, read_labels
from analysis.selection import scan_epoch, select_ratio
from workers.campaign import PARTS
from workers.store import Store


@dataclass(frozen=True)
class PackedBits:
    """bool[runs, width] at one bit each; rows start at a byte, the first column is the highest bit."""

    packed: npt.NDArray[np.uint8]
    width: int

    def columns(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """The columns `ids` as 0 and 1, float32[runs, len(ids)]."""
        shifts = (7 - (ids & 7)).astype(np.uint8)
        return ((self.packed[:, ids >> 3] >> shifts) & 1).astype(np.float32)


@dataclass(frozen=True)
class RatioBits:
    """The runs of one ratio in ascending repetition, diverged ones left out and counted.

    `subsets` is [runs, N], `test_correct` [runs, T]; `n_in` (int64[N]) counts the runs that trained on an example,
    `correct` (int64[T]) those that predict a test example's label. `epoch` is None where every run diverged.
    """

    parts: int
    runs: int
    diverged: int
    epoch: int | None
    labels: Labels
    subsets: PackedBits
    test_correct: PackedBits
    n_in: npt.NDArray[np.int64]
    correct: npt.NDArray[np.int64]

    @property
    def ratio(self) -> float:
        """Subset size over N."""
        return self.parts / PARTS

    @property
    def n_out(self) -> npt.NDArray[np.int64]:
        """int64[N]: the runs that did not train on an example."""
        return self.runs - self.n_in


def pack_runs(store: Store, ratio: float | None = None, epoch: int | None = None) -> RatioBits:
    """The packed runs of one ratio (None: the store's only one) at a recorded epoch (None: the last).

    Holds runs x (N + T) / 8 bytes. Raises EstimateError for a ratio or an epoch that the store does not have,
    DamagedFileError for an unreadable file.
    """
    parts = select_ratio(store, ratio)
    header = store.header
    n_in, correct = np.zeros(header.num_train, dtype=np.int64), np.zeros(header.num_test, dtype=np.int64)
    packed_subsets = [np.packbits(np.zeros((0, header.num_train), dtype=bool), axis=1)]
    packed_correct = [np.packbits(np.zeros((0, header.num_test), dtype=bool), axis=1)]
    diverged, last_epoch = 0, None
    for rows in scan_epoch(store, ("subset", "test_correct"), parts, epoch):
        subset, right = (store.bits(rows.shard, rows.table, column)[rows.used] for column in ("subset", "test_correct"))
        n_in += subset.sum(axis=0)
        correct += right.sum(axis=0)
        packed_subsets.append(np.packbits(subset, axis=1))
        packed_correct.append(np.packbits(right, axis=1))
        diverged += rows.diverged
        last_epoch = max((last_epoch or 0, *rows.epochs[rows.used].tolist())) or None
    subsets = PackedBits(np.concatenate(packed_subsets), header.num_train)
    test_correct = PackedBits(np.concatenate(packed_correct), header.num_test)
    return RatioBits(
        parts=parts,
        runs=len(subsets.packed),
        diverged=diverged,
        epoch=last_epoch,
        labels=read_labels(store),
        subsets=subsets,
        test_correct=test_correct,
        n_in=n_in,
        correct=correct,
    )
