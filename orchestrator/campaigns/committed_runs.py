"""Counts the requested runs that a store holds, from its files alone, for the result of `run`.

Every file that counts is read whole and checked as `longtail verify` does. That takes milliseconds a file (see
docs/reliability.md), which is little beside training it, and files are read side by side.
"""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workers.campaign.keys import Shard, runs_by_ratio
from workers.common.progress import ProgressCallback
from workers.errors import DamagedFileError, MissingFileError
from workers.store import Store
from workers.store.file_problems import EXAMPLES_FILE

_LOCAL_THREADS, _REMOTE_THREADS = 4, 16
"""Files that are read at a time; of an object store more, since each waits for answers."""
_MAX_ROUNDS = 20


Masks = Mapping[int, npt.NDArray[np.bool_]]
"""By ratio (parts per million), of repetitions 0, 1, ...: bool[repetitions]."""


@dataclass(frozen=True)
class CommittedRuns:
    """By ratio (parts per million): requested runs, those of them in sound files, and those of these that diverged."""

    requested: Mapping[int, int]
    committed: Mapping[int, int]
    diverged: Mapping[int, int]
    there: Mapping[int, int]
    """Runs in the store at these ratios, those included that were not requested, by the names of files."""
    damaged: tuple[DamagedFileError, ...]
    """Files that hold requested runs, or the examples, and cannot be used."""

    @property
    def runs(self) -> int:
        """Requested runs that are committed."""
        return sum(self.committed.values())

    @property
    def usable(self) -> int:
        """Those that did not diverge."""
        return self.runs - sum(self.diverged.values())


def check_committed_runs(
    store: Store, requested: Masks, on_file: ProgressCallback = lambda done, total: None
) -> CommittedRuns:
    """Look for runs in a store. Raises StoreError where the store is not there any more, or cannot be read."""
    store.check_binding()
    checked: dict[Shard, list[int] | DamagedFileError] = {}
    for _ in range(_MAX_ROUNDS):  # compactions make new files, other drivers commit
        shards = [shard for shard in store.all_shards() if _within(requested, shard).any()]
        fresh = [shard for shard in shards if shard not in checked]
        if not fresh:
            break
        threads = _REMOTE_THREADS if "://" in store.uri else min(_LOCAL_THREADS, os.cpu_count() or 1)
        with ThreadPoolExecutor(threads) as pool:
            for shard, check in zip(fresh, pool.map(lambda each: _check(store, each), fresh), strict=True):
                if check is not None:
                    checked[shard] = check
                on_file(len(checked), len(shards))
    damaged: list[DamagedFileError] = []
    committed = {ratio_ppm: np.zeros_like(mask) for ratio_ppm, mask in requested.items()}
    diverged = {ratio_ppm: np.zeros_like(mask) for ratio_ppm, mask in requested.items()}
    for shard in shards:
        check = checked.get(shard)
        if isinstance(check, DamagedFileError):
            damaged.append(check)
        elif check is not None:
            _within(committed, shard)[:] = _within(requested, shard)
            lost = [repetition for repetition in check if repetition < len(requested[shard.ratio_ppm])]
            diverged[shard.ratio_ppm][lost] = requested[shard.ratio_ppm][lost]
    problem = store.maintenance.inspect(EXAMPLES_FILE)
    if problem is not None:
        damaged.append(store.maintenance.damage(EXAMPLES_FILE, problem))
    there = runs_by_ratio(store.shards())
    counts = (
        _counts(requested),
        _counts(committed),
        _counts(diverged),
        {ratio_ppm: there[ratio_ppm] for ratio_ppm in requested},
    )
    return CommittedRuns(*counts, tuple(damaged))


def _within(masks: Masks, shard: Shard) -> npt.NDArray[np.bool_]:
    """The part of its ratio's mask that a shard covers, a view; empty where the ratio has none."""
    mask = masks.get(shard.ratio_ppm)
    return np.zeros(0, dtype=bool) if mask is None else mask[shard.start : shard.stop]


def _counts(masks: Masks) -> dict[int, int]:
    return {ratio_ppm: int(mask.sum()) for ratio_ppm, mask in masks.items()}


def _check(store: Store, shard: Shard) -> list[int] | DamagedFileError | None:
    """The repetitions that diverged, or the damage; None where a compaction merged the file away."""
    try:
        return store.maintenance.diverged(shard)
    except DamagedFileError as error:
        return error
    except MissingFileError:
        path = f"results/{shard.shard_id}.parquet"
        problem = store.maintenance.inspect(path)
        return None if problem is None else store.maintenance.damage(path, problem)
