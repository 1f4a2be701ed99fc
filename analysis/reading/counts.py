"""Sufficient statistics of all runs for every estimate but influence, in one streaming pass.

Memory is bounded by one shard and the sums. The sums are integers, so they do not depend on the order or the
boundaries of shards.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from analysis.reading.examples import Labels, read_labels
from analysis.reading.selection import (
    EpochRows,
    check_random_subsets,
    check_some_run,
    preferred_ratio,
    scan_epoch,
    select_ratios,
)
from analysis.reading.subset_groups import groups_of_rows
from analysis.statistics.clustered_means import ClusterSums, clustered_variance, effective_runs, sum_clusters
from analysis.statistics.means import group_mean, squared_se
from workers.campaign.campaign import PPM
from workers.common.arrays import Bools, Floats, Integers
from workers.store import Store


@dataclass(frozen=True)
class RatioCounts:
    """Sums over the runs of one ratio; the arrays are int64[N].

    `n_in` runs trained on the example, `correct_in` of them predict its given label; `n_out` and `correct_out` likewise
    for the runs that did not train on it. `runs` = n_in + n_out leaves out the `diverged` ones, of which `diverged_in`
    had the example in their subset: None where that was not counted, as some did not reach the epoch. `epoch` is the
    last one used, None where every run diverged. `clusters_in` and `clusters_out` are the sums over subsets with and
    without the example, None where each run has a subset of its own: means of runs that share subsets have other
    standard errors.
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
    clusters_in: ClusterSums | None = None
    clusters_out: ClusterSums | None = None

    @property
    def ratio(self) -> float:
        """Subset size over N."""
        return self.ratio_ppm / PPM

    @property
    def variance_in(self) -> Floats:
        """The squared standard error of correct_in / n_in, float64[N]; NaN where that has none."""
        return _variance(self.correct_in, self.n_in, self.clusters_in)

    @property
    def variance_out(self) -> Floats:
        """Likewise of correct_out / n_out."""
        return _variance(self.correct_out, self.n_out, self.clusters_out)

    def effective_in(self, confidence: float) -> Integers | Floats:
        """The independent runs that the n_in runs are worth in an interval: their number where subsets differ."""
        return _effective(self.correct_in, self.n_in, self.clusters_in, confidence)

    def effective_out(self, confidence: float) -> Integers | Floats:
        """Likewise of the n_out runs."""
        return _effective(self.correct_out, self.n_out, self.clusters_out, confidence)


def _variance(correct: Integers, runs: Integers, clusters: ClusterSums | None) -> Floats:
    if clusters is None:
        return squared_se(group_mean(correct, runs, "nan"), runs)
    return clustered_variance(correct, runs, clusters)


def _effective(correct: Integers, runs: Integers, clusters: ClusterSums | None, confidence: float) -> Integers | Floats:
    return runs if clusters is None else effective_runs(correct, runs, clusters, confidence)


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

    def ratio_of_most_runs(self) -> RatioCounts | None:
        """Of the ratios that hold examples out the `preferred_ratio`; None: there is none."""
        usable = {ratio.ratio_ppm: ratio for ratio in self.holding_out().ratios}
        runs = {ratio_ppm: ratio.runs for ratio_ppm, ratio in usable.items()}
        return usable[preferred_ratio(runs)] if runs else None


def count_runs(store: Store, ratio: float | None = None, epoch: int | None = None) -> StoreCounts:
    """The sums at one ratio or at every committed one, at a recorded epoch (None: the last).

    Raises EstimateError for a ratio or an epoch that the store does not have and where subsets are explicit,
    DamagedFileError for an unreadable file.
    """
    check_random_subsets(store)
    chosen = select_ratios(store, ratio)
    sums = {ratio_ppm: RatioSums(ratio_ppm, store.header.num_train) for ratio_ppm in chosen}
    for rows in scan_epoch(
        store, ("repetition", "subset", "train_correct"), chosen[0] if ratio is not None else None, epoch
    ):
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
        self._clusters: _OpenClusters | None = None

    def add(self, store: Store, rows: EpochRows) -> None:
        """Add runs that are not in the sums; the rows have the columns repetition, subset and train_correct.

        Where runs share subsets, those of one subset are added one after the other.
        """
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
        if store.header.replicates > 1:
            self._clusters = self._clusters or _OpenClusters(len(self.n_in))
            self._clusters.add(groups_of_rows(store, rows), subset, correct)

    def counts(self) -> RatioCounts:
        """The sums so far; of `n_in` and `correct_in` no copies, which grow on."""
        inside, outside = (None, None) if self._clusters is None else self._clusters.sums()
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
            clusters_in=inside,
            clusters_out=outside,
        )


class _OpenClusters:
    """Sums over subsets, with and without each example; runs of one subset come one after the other."""

    def __init__(self, num_train: int) -> None:
        self._inside = self._all = ClusterSums(*np.zeros((4, num_train), dtype=np.int64))
        self._group = -1
        self._runs = 0
        self._subset = np.zeros(num_train, dtype=bool)
        self._correct = np.zeros(num_train, dtype=np.int64)

    def add(self, groups: Integers, subsets: Bools, correct: Bools) -> None:
        """Runs in ascending repetition with the number of each one's subset."""
        for group, subset, right in zip(groups.tolist(), subsets, correct, strict=True):
            if group != self._group:
                self._inside, self._all = self._with_last()
                self._group, self._runs, self._subset = group, 0, subset
                self._correct = np.zeros(len(subset), dtype=np.int64)
            self._runs += 1
            self._correct += right

    def sums(self) -> tuple[ClusterSums, ClusterSums]:
        """Of the subsets with each example, and of those without."""
        inside, total = self._with_last()
        return inside, total - inside

    def _with_last(self) -> tuple[ClusterSums, ClusterSums]:
        """The sums with the subset whose runs came last: over subsets with each example, and over all."""
        runs = np.full((1, len(self._subset)), self._runs)
        sums = (
            sum_clusters(self._correct[None], runs, chosen) for chosen in (self._subset[None], np.ones_like(runs, bool))
        )
        inside, total = sums
        return self._inside + inside, self._all + total
