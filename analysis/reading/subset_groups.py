"""Groups of runs that share a subset (`subsets.replicates`): they differ in training alone.

Two runs of one subset are not independent draws of a subset, so standard errors, splits and cross-validation go by
groups of runs, of which each is one subset.
"""

from analysis.reading.selection import EpochRows
from workers.common.arrays import Integers
from workers.errors import SharedSubsetsError
from workers.store import Store


def subset_groups(store: Store, repetitions: Integers) -> Integers:
    """int64[R], the number of each run's subset at its ratio, by the runs' repetitions int64[R].

    Runs with equal numbers (at one ratio) were trained on the same subset: repetition r on number r // m, where
    `subsets.replicates` is m. Numbers of runs that are not in the store are missing, so that they are not 0..G-1.
    """
    return repetitions // store.header.replicates


def groups_of_rows(store: Store, rows: EpochRows) -> Integers:
    """`subset_groups` of the used rows of a shard, which have the column `repetition`."""
    return subset_groups(store, rows.table["repetition"].to_numpy()[rows.used])


def shared_subset(store: Store, repetition: int) -> int | None:
    """The number of a run's subset where runs share subsets; None where each has its own."""
    return repetition // store.header.replicates if store.header.replicates > 1 else None


def check_own_subsets(store: Store, what: str) -> None:
    """Raise SharedSubsetsError where runs share subsets; `what` names an estimate that takes runs for independent."""
    if store.header.replicates > 1:
        raise SharedSubsetsError(
            f"{store.uri}: {what} must be of runs with a subset each, got {store.header.replicates} of each "
            "(subsets.replicates)"
        )
