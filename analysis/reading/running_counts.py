"""Sufficient statistics of a growing store: shards are added as they are committed, each run once."""

import numpy as np

from analysis.reading.counts import RatioCounts, RatioSums, some_runs
from analysis.reading.selection import EPOCH_COLUMNS, check_random_subsets, epoch_rows
from workers.campaign.keys import Shard
from workers.store import Store

_COLUMNS = (*EPOCH_COLUMNS, "repetition", "subset", "train_correct")


class RunningCounts:
    """The sums over the runs added so far, at their last epochs; in whatever order they come, the same sums.

    Raises EstimateError where subsets are explicit.
    """

    def __init__(self, store: Store) -> None:
        check_random_subsets(store)
        self._store = store
        self._sums: dict[int, RatioSums] = {}
        self._counted: dict[int, set[int]] = {}

    def holds(self, shard: Shard) -> bool:
        """Whether every run of a shard is counted, from whichever file."""
        return self._counted.get(shard.ratio_ppm, set()).issuperset(range(shard.start, shard.stop))

    def add(self, shard: Shard) -> None:
        """Count those runs of a committed shard that are not counted yet: shards overlap where files were merged.

        Raises DamagedFileError, or StoreError where the shard is missing; runs before that place are counted then.
        """
        sums = self._sums.setdefault(shard.ratio_ppm, RatioSums(shard.ratio_ppm, self._store.header.num_train))
        counted = self._counted.setdefault(shard.ratio_ppm, set())
        for table in self._store.groups(shard, _COLUMNS):
            rows = epoch_rows(self._store, shard, table, None)
            repetitions = rows.table["repetition"].to_pylist()
            fresh = np.array([repetition not in counted for repetition in repetitions], dtype=bool)
            sums.add(self._store, rows if fresh.all() else some_runs(rows, fresh))
            counted.update(repetitions)

    def ratios(self) -> tuple[RatioCounts, ...]:
        """The sums at each ratio, ascending."""
        return tuple(self._sums[ratio_ppm].counts() for ratio_ppm in sorted(self._sums))
