"""Sufficient statistics of all runs for every estimate but influence, in one streaming pass.

Memory is bounded by one shard and the sums. The sums are integers, so they do not depend on the order or the
boundaries of shards.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from analysis.reading.examples import Labels, read_labels
from analysis.reading.selection import EpochRows, check_random_subsets, check_some_run, scan_epoch, select_ratios
from workers.campaign.campaign import PPM
from workers.store import Store


@dataclass(frozen=True)
class RatioCounts:
    """Sums over the runs of one ratio; the arrays are int64[N].

    `n_in` runs trained on the example, `correct_in` of them predict its given label; `n_out` and `correct_out` likewise
    for the runs that did not train on it. `runs` = n_in + n_out leaves out the `diverged` ones, of which `diverged_in`
    had the example in their subset: None where that was not counted, as some did not reach the epoch. `epoch` is the
    last one used, None where every run diverged.
    """

    ratio_ppm: int
    runs: int
    diverged: int
    epoch: int | None
    n_in: npt.NDArray[np.int64]
    correct_in: npt.NDArray[np.int64]
    n_out: npt.NDArray[np.int64]
    correct_out: npt.NDArray[np.int64]
    diverged_in: npt.NDArray[np.int64] | None = None

    @property
    def ratio(self) -> float:
        """Subset size over N."""
        return self.ratio_ppm / PPM


@dataclass(frozen=True)
class StoreCounts:
    """The examples' labels and the sums at each ratio, ascending."""

    labels: Labels
    ratios: tuple[RatioCounts, ...]

    def check_some_run(self, uri: str, ratio_ppm: int | None = None) -> None:
        """Raise NoEstimateError where all runs of the store at `uri` diverged, at one ratio or at all that are here."""
        chosen = [ratio for ratio in self.ratios if ratio_ppm in (None, ratio.ratio_ppm)]
        ratio = chosen[0].ratio if len(chosen) == 1 else None
        check_some_run(uri, sum(at.runs for at in chosen), sum(at.diverged for at in chosen), ratio)

    def holding_out(self) -> "StoreCounts":
        """Without ratio 1, and ratios whose runs all diverged: they tell nothing of examples that are held out."""
        return replace(self, ratios=tuple(ratio for ratio in self.ratios if ratio.ratio_ppm < PPM and ratio.runs))


def count_runs(store: Store, ratio: float | None = None, epoch: int | None = None) -> StoreCounts:
    """The sums at one ratio or at every committed one, at a recorded epoch (None: the last).

    Raises EstimateError for a ratio or an epoch that the store does not have and where subsets are explicit,
    DamagedFileError for an unreadable file.
    """
    check_random_subsets(store)
    chosen = select_ratios(store, ratio)
    sums = {ratio_ppm: RatioSums(ratio_ppm, store.header.num_train) for ratio_ppm in chosen}
    for rows in scan_epoch(store, ("subset", "train_correct"), chosen[0] if ratio is not None else None, epoch):
        # A shard that another driver commits during the scan may open a ratio that was not there at its start.
        if rows.shard.ratio_ppm in sums:
            sums[rows.shard.ratio_ppm].add(store, rows)
    return StoreCounts(read_labels(store), tuple(sums[ratio_ppm].counts() for ratio_ppm in chosen))


def count_first_runs(store: Store, ratio_ppm: int, repetitions: int) -> RatioCounts:
    """The sums at a ratio (parts per million) over those of its repetitions 0..repetitions-1 that are committed.

    At the last epoch. They are the same whatever is committed beyond. Raises EstimateError where subsets are explicit,
    DamagedFileError for an unreadable file.
    """
    check_random_subsets(store)
    sums = RatioSums(ratio_ppm, store.header.num_train)
    for rows in scan_epoch(store, ("repetition", "subset", "train_correct"), ratio_ppm, None):
        if rows.shard.start >= repetitions:
            break
        sums.add(store, some_runs(rows, rows.table["repetition"].to_numpy() < repetitions))
    return sums.counts()


def some_runs(rows: EpochRows, selected: npt.NDArray[np.bool_]) -> EpochRows:
    """Some of a shard's rows at the last epoch, of which every run has one; bool[rows] says which."""
    used = rows.used[selected]
    return replace(
        rows, table=rows.table.filter(selected), used=used, epochs=rows.epochs[selected], diverged=int((~used).sum())
    )


class RatioSums:
    """The sums of one ratio, growing."""

    def __init__(self, ratio_ppm: int, num_train: int) -> None:
        self.ratio_ppm = ratio_ppm
        self.runs = self.diverged = 0
        self.epoch: int | None = None
        self.n_in, self.correct_in, self.correct, self.diverged_in = np.zeros((4, num_train), dtype=np.int64)
        self._diverged_seen = 0

    def add(self, store: Store, rows: EpochRows) -> None:
        """Add runs that are not in the sums; the rows have the columns subset and train_correct."""
        subsets = store.bits(rows.shard, rows.table, "subset")
        subset, correct = subsets[rows.used], store.bits(rows.shard, rows.table, "train_correct")[rows.used]
        epochs = rows.epochs[rows.used]
        self.diverged_in += subsets[~rows.used].sum(axis=0)
        self._diverged_seen += len(subsets) - len(subset)
        self.runs += len(subset)
        self.diverged += rows.diverged
        if len(epochs):
            self.epoch = max(int(epochs.max()), self.epoch or 0)
        self.n_in += subset.sum(axis=0)
        self.correct_in += (subset & correct).sum(axis=0)
        self.correct += correct.sum(axis=0)

    def counts(self) -> RatioCounts:
        """The sums so far; of `n_in` and `correct_in` no copies, which grow on."""
        return RatioCounts(
            ratio_ppm=self.ratio_ppm,
            runs=self.runs,
            diverged=self.diverged,
            epoch=self.epoch,
            n_in=self.n_in,
            correct_in=self.correct_in,
            n_out=self.runs - self.n_in,
            correct_out=self.correct - self.correct_in,
            diverged_in=self.diverged_in if self._diverged_seen == self.diverged else None,
        )
