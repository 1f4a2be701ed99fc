"""Sufficient statistics of groups of runs, in one streaming pass, for errors that include the noise of runs.

Subset k (run k, unless runs share subsets) is in group k modulo g, g being the number of subsets of the ratio that has
most, at most GROUPS: so each group has its share of every ratio, and of every block of a balanced design.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.reading.counts import RatioCounts, StoreCounts
from analysis.reading.examples import Labels, read_labels
from analysis.reading.selection import check_random_subsets, scan_epoch, select_ratios
from analysis.reading.subset_groups import groups_of_rows
from analysis.statistics.jackknife import GROUPS
from workers.common.arrays import Bools, Floats, Int32s
from workers.store import Store


@dataclass(frozen=True)
class GroupCounts:
    """One ratio's sums by group of runs: `runs` int64[g]; n_in, correct_in and correct int32[g, N]."""

    ratio_ppm: int
    epoch: int | None
    diverged: int
    runs: npt.NDArray[np.int64]
    n_in: Int32s
    correct_in: Int32s
    correct: Int32s

    def over(self, selected: npt.NDArray[np.bool_]) -> RatioCounts:
        """The sums over the groups of a mask bool[g]."""
        n_in, correct_in, correct = (each[selected].sum(axis=0, dtype=np.int64) for each in self._sums())
        runs = int(self.runs[selected].sum())
        return RatioCounts(
            self.ratio_ppm, runs, self.diverged, self.epoch, n_in, correct_in, runs - n_in, correct - correct_in
        )

    def _sums(self) -> tuple[Int32s, Int32s, Int32s]:
        return self.n_in, self.correct_in, self.correct


@dataclass(frozen=True)
class RunGroups:
    """A store's sums by group of runs, at each ratio, ascending."""

    labels: Labels
    groups: int
    ratios: tuple[GroupCounts, ...]

    def without_each(self) -> Iterator[StoreCounts]:
        """The sums without each group, those of a group without runs being all; none where fewer than two have runs."""
        filled = int((np.sum([ratio.runs for ratio in self.ratios], axis=0) > 0).sum())
        return self.over(~np.eye(self.groups, dtype=bool) if filled > 1 else np.zeros((0, self.groups), dtype=bool))

    def over(self, selections: Bools) -> Iterator[StoreCounts]:
        """The sums over each selection of groups, bool[s, g]."""
        for selected in selections:
            yield StoreCounts(self.labels, tuple(ratio.over(selected) for ratio in self.ratios))


def number_of_groups(store: Store) -> int:
    """How many groups a store's runs make."""
    runs: dict[int, int] = {}
    for shard in store.shards():
        runs[shard.ratio_ppm] = runs.get(shard.ratio_ppm, 0) + shard.stop - shard.start
    return max(1, min(GROUPS, -(-max(runs.values(), default=1) // store.header.replicates)))


def group_runs(store: Store, ratio: float | None = None) -> RunGroups:
    """The sums by group at one ratio or at every committed one, at the last epoch: 12 g N bytes a ratio.

    Raises as `analysis.reading.counts.count_runs`.
    """
    check_random_subsets(store)
    chosen, groups, width = select_ratios(store, ratio), number_of_groups(store), store.header.num_train
    sums = {ratio_ppm: _GroupSums(ratio_ppm, groups, width) for ratio_ppm in chosen}
    columns = ("repetition", "subset", "train_correct")
    for rows in scan_epoch(store, columns, chosen[0] if ratio is not None else None, None):
        ratio_sums = sums.get(rows.shard.ratio_ppm)
        if ratio_sums is not None:
            of_run = groups_of_rows(store, rows) % groups
            bits = (store.bits(rows.shard, rows.table, name)[rows.used] for name in columns[1:])
            ratio_sums.add(of_run, *bits)
            ratio_sums.diverged += rows.diverged
            ratio_sums.epoch = max((ratio_sums.epoch or 0, *rows.epochs[rows.used].tolist())) or None
    return RunGroups(read_labels(store), groups, tuple(sums[ratio_ppm].counts() for ratio_ppm in chosen))


class _GroupSums:
    """The sums of one ratio, growing."""

    def __init__(self, ratio_ppm: int, groups: int, width: int) -> None:
        self.ratio_ppm, self.diverged = ratio_ppm, 0
        self.epoch: int | None = None
        self._runs = np.zeros(groups, dtype=np.int64)
        self._n_in, self._correct_in, self._correct = np.zeros((3, groups, width), dtype=np.int32)

    def add(self, group: npt.NDArray[np.int64], subset: npt.NDArray[np.bool_], correct: npt.NDArray[np.bool_]) -> None:
        """Runs with the group of each."""
        self._runs += np.bincount(group, minlength=len(self._runs))
        for each in np.unique(group).tolist():
            of_group = group == each
            inside, right = subset[of_group], correct[of_group]
            self._n_in[each] += inside.sum(axis=0, dtype=np.int32)
            self._correct_in[each] += (inside & right).sum(axis=0, dtype=np.int32)
            self._correct[each] += right.sum(axis=0, dtype=np.int32)

    def counts(self) -> GroupCounts:
        return GroupCounts(
            self.ratio_ppm, self.epoch, self.diverged, self._runs, self._n_in, self._correct_in, self._correct
        )


class GroupedMeans:
    """Means over runs by group: float64[N] values with NaN where a run has none, run after run.

    12 g N bytes.
    """

    def __init__(self, groups: int, width: int) -> None:
        self._total = np.zeros((groups, width))
        self._runs = np.zeros((groups, width), dtype=np.int32)
        self._filled = np.zeros(groups, dtype=bool)

    def add(self, group: int, values: Floats) -> None:
        """One more run's."""
        some = ~np.isnan(values)
        self._total[group] += np.where(some, values, 0.0)
        self._runs[group] += some
        self._filled[group] = True

    def without_each(self) -> Floats:
        """float64[g, N], NaN where the other groups have no run with a value; [0, N] where fewer than two have runs."""
        total, runs = self._total.sum(axis=0), self._runs.sum(axis=0, dtype=np.int64)
        some = slice(None) if self._filled.sum() > 1 else slice(0)
        left = runs - self._runs[some]
        return np.where(left > 0, (total - self._total[some]) / np.maximum(left, 1), np.nan)

    def over(self, selections: Bools) -> Floats:
        """float64[s, N] over each selection of groups, bool[s, g]; NaN where they have no run with a value."""
        runs = selections.astype(np.int64) @ self._runs
        return np.where(runs > 0, selections.astype(np.float64) @ self._total / np.maximum(runs, 1), np.nan)
