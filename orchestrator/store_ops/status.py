"""Status of a store: requested, committed, diverged, failed and damaged, also while other processes train.

A look is one listing (of two passes, see `Store.all_shards`). Of the files only the new ones are read, each once, and
where that is requested only for a while at each call: a store of 100,000 files is shown at once, and how many of its
runs diverged is known a little later. A file that cannot be used is named, and its runs are not counted.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.campaign.campaign import PPM
from workers.campaign.import_spec import Imported
from workers.campaign.keys import Shard
from workers.errors import DamagedFileError, MissingFileError
from workers.store import Failure, Store
from workers.store.file_problems import EXAMPLES_FILE

_COLUMNS = ("repetition", "is_final", "status", "test_accuracy")
_MAX_ATTEMPTS = 5
"""Attempts to read a store whose files vanish meanwhile (compactions) before the rest is left unread."""


@dataclass(frozen=True)
class RatioStatus:
    """Runs of one ratio: requested, committed (of those requested or more), and diverged among the committed."""

    ratio: float
    requested: int
    committed: int
    diverged: int


@dataclass(frozen=True)
class CampaignStatus:
    """A store at one moment."""

    store_uri: str
    dataset: str
    num_train: int
    num_test: int
    identity: str
    ratios: tuple[RatioStatus, ...]
    failures: tuple[Failure, ...]
    test_accuracy: float | None
    """Mean over the completed runs' final epochs; None where there is no run or no test example."""
    unread: int = 0
    """Runs among the committed of whose files only the names were read."""
    damaged: tuple[DamagedFileError, ...] = ()
    """Files that cannot be used, results first; runs that are in no other file are not counted as committed."""
    lost: int = 0
    """Runs of result files that cannot be used, and of those requested."""

    @property
    def requested(self) -> int:
        """Requested runs."""
        return sum(ratio.requested for ratio in self.ratios)

    @property
    def committed(self) -> int:
        """Runs in the store, of those requested."""
        return sum(min(ratio.committed, ratio.requested) for ratio in self.ratios)

    @property
    def beyond(self) -> int:
        """Runs in the store beyond those requested."""
        return sum(max(0, ratio.committed - ratio.requested) for ratio in self.ratios)

    @property
    def diverged(self) -> int:
        """Runs in the store that diverged."""
        return sum(ratio.diverged for ratio in self.ratios)

    @property
    def failed(self) -> int:
        """Runs in shards that were given up."""
        shards = [shard for failure in self.failures if (shard := Shard.parse(failure.shard_id))]
        return sum(shard.stop - shard.start for shard in shards)

    @property
    def finished(self) -> bool:
        """Every requested run is committed, or in a file that cannot be used. A store with runs and no request for any
        has lost its requests, and is not waited for."""
        has_requests = self.requested > 0 or self.beyond > 0 or bool(self.damaged)
        return not self.unread and has_requests and self.requested <= self.committed + self.lost


@dataclass(frozen=True)
class _Outcomes:
    """A file's runs: their repetitions, ascending, and what became of each; accuracies are NaN where there is none."""

    repetitions: npt.NDArray[np.int64]
    diverged: npt.NDArray[np.bool_]
    accuracies: npt.NDArray[np.float64]


class StatusReader:
    """Reads the status of a store repeatedly."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._read: dict[Shard, _Outcomes] = {}
        self._damaged: dict[Shard, DamagedFileError] = {}
        self._examples: DamagedFileError | None = None
        self._examples_seen = False

    def read(self, seconds: float = float("inf")) -> CampaignStatus:
        """The store now. New files are read for `seconds`; what is left then is read by later calls.

        Raises StoreError where the store cannot be read.
        """
        store, damaged = self._store, list[DamagedFileError]()
        targets, shards = store.targets(damaged), store.all_shards()
        failures = store.failures(shards, damaged)
        self._read = {shard: self._read[shard] for shard in shards if shard in self._read}
        self._damaged = {shard: self._damaged[shard] for shard in shards if shard in self._damaged}
        self._read_new(shards, time.monotonic() + seconds)
        self._inspect_examples(shards)
        if self._examples is not None:
            damaged.append(self._examples)
        counts = _Counts()
        for shard in sorted(shards, key=lambda each: (each.ratio_ppm, each.start, -each.stop)):
            if shard not in self._damaged:
                counts.add(shard, self._read.get(shard))
        header = store.header
        return CampaignStatus(
            store_uri=store.uri,
            dataset=header.dataset,
            num_train=header.num_train,
            num_test=header.num_test,
            identity=header.identity,
            ratios=tuple(
                RatioStatus(
                    ratio_ppm / PPM, targets.get(ratio_ppm, 0), counts.committed[ratio_ppm], counts.diverged[ratio_ppm]
                )
                for ratio_ppm in sorted({*targets, *counts.committed})
            ),
            failures=tuple(failures),
            test_accuracy=counts.accuracy / counts.tested if counts.tested else None,
            unread=counts.unread,
            damaged=(*self._damaged.values(), *damaged),
            lost=self._lost(targets, shards),
        )

    def _read_new(self, shards: Sequence[Shard], deadline: float) -> None:
        for shard in shards:
            if shard in self._read or shard in self._damaged:
                continue
            if time.monotonic() > deadline:
                return
            try:
                self._read[shard] = _outcomes(self._store, shard)
            except DamagedFileError as error:
                self._damaged[shard] = error
            except MissingFileError:
                path = f"results/{shard.shard_id}.parquet"
                problem = self._store.maintenance.inspect(path)
                if problem is not None:  # else a compaction merged it away: the next listing tells
                    self._damaged[shard] = self._store.maintenance.damage(path, problem)

    def _inspect_examples(self, shards: Sequence[Shard]) -> None:
        """Once, and again while they cannot be used. A store that is just being made has none yet."""
        if self._examples_seen and self._examples is None:
            return
        problem = self._store.maintenance.inspect(EXAMPLES_FILE)
        self._examples = self._store.maintenance.damage(EXAMPLES_FILE, problem) if problem and shards else None
        self._examples_seen = problem is None

    def _lost(self, targets: dict[int, int], shards: Sequence[Shard]) -> int:
        """Requested runs that only damaged files hold."""
        sound = {run for shard in shards if shard not in self._damaged for run in shard.runs} if self._damaged else ()
        lost = {run for shard in self._damaged for run in shard.runs}.difference(sound)
        if isinstance(self._store.header.campaign, Imported):
            return len(lost)  # they are requested by their number: an experiment may have gaps
        return sum(run.repetition < targets.get(run.ratio_ppm, 0) for run in lost)


class _Counts:
    """Runs of files in the order of a scan, each run once: files overlap where they were merged."""

    def __init__(self) -> None:
        self.committed: Counter[int] = Counter()
        self.diverged: Counter[int] = Counter()
        self.unread = 0
        self.accuracy = 0.0
        self.tested = 0
        self._ends: Counter[int] = Counter()

    def add(self, shard: Shard, outcomes: _Outcomes | None) -> None:
        """Count what is new in a file; None: it is not read yet, so that its name alone tells its runs."""
        start = max(shard.start, self._ends[shard.ratio_ppm])
        self._ends[shard.ratio_ppm] = max(shard.stop, self._ends[shard.ratio_ppm])
        if outcomes is None:
            self.committed[shard.ratio_ppm] += max(0, shard.stop - start)
            self.unread += max(0, shard.stop - start)
            return
        fresh = outcomes.repetitions >= start
        self.committed[shard.ratio_ppm] += int(fresh.sum())
        self.diverged[shard.ratio_ppm] += int(outcomes.diverged[fresh].sum())
        accuracies = outcomes.accuracies[fresh & ~outcomes.diverged & ~np.isnan(outcomes.accuracies)]
        self.accuracy += float(accuracies.sum())
        self.tested += len(accuracies)


def _outcomes(store: Store, shard: Shard) -> _Outcomes:
    table = store.read(shard, _COLUMNS)
    final = table.filter(table["is_final"])
    return _Outcomes(
        np.array(final["repetition"].to_pylist(), dtype=np.int64),  # to_numpy imports pandas
        np.array([status == "diverged" for status in final["status"].to_pylist()], dtype=bool),
        np.array(_numbers(final["test_accuracy"].to_pylist()), dtype=np.float64),
    )


def _numbers(values: list[Any]) -> list[float]:
    return [float("nan") if value is None else float(value) for value in values]


def campaign_status(uri: str) -> CampaignStatus:
    """Count a store's runs, every file read. Raises StoreError where there is no store, or it cannot be read."""
    reader = StatusReader(Store.open(uri))
    for _ in range(_MAX_ATTEMPTS):
        status = reader.read()
        if not status.unread:
            break
    return status
