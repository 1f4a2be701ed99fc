"""Timeline of a campaign: runs in the store, injected faults, and the cost of each fault."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from benchmarks.chaos.model import Begun
from workers.campaign.keys import Run, Shard


@dataclass
class Injection:
    """A fault, and what happened from then until the next fault of its campaign (or the campaign's last commit).

    `seconds` and `runs`: time passed and runs committed; `again`: runs whose training began once more; `lost`: runs
    that were committed and then were not; `duplicated`: runs that were in two files at a moment (a compaction's
    sources stay for a while, beside what they were merged into); `replaced_after`:
    seconds until a process that was not there before had its first run committed, None where that never came.
    """

    name: str
    at: float
    seconds: float = 0.0
    runs: int = 0
    again: int = 0
    lost: int = 0
    duplicated: int = 0
    replaced_after: float | None = None


class History:
    """Filled by looking at the store again and again."""

    def __init__(self, requested: Collection[Run]) -> None:
        self._requested = set(requested)
        self.committed: dict[Run, float] = {}
        """When each run was first seen (monotonic seconds)."""
        self.injections: list[Injection] = []
        self.last_commit = time.monotonic()

    @property
    def complete(self) -> bool:
        """Is every run committed."""
        return self.committed.keys() >= self._requested

    @property
    def seconds(self) -> float:
        """From the first commit to the last."""
        return max(self.committed.values(), default=0.0) - min(self.committed.values(), default=0.0)

    def see(self, shards: Sequence[Shard]) -> list[str]:
        """Take a listing in; returns what is wrong with it."""
        now = time.monotonic()
        there = list(chain.from_iterable(shard.runs for shard in shards))
        present = set(there)
        for run in present - self.committed.keys():
            self.committed[run] = self.last_commit = now
        lost, twice = self.committed.keys() - present, len(there) - len(present)
        if self.injections:
            latest = self.injections[-1]
            latest.lost, latest.duplicated = max(latest.lost, len(lost)), max(latest.duplicated, twice)
        return [f"{run.run_id} was committed and is gone" for run in lost]

    def inject(self, name: str) -> None:
        """A fault strikes now."""
        self.injections.append(Injection(name, time.monotonic()))

    def account(self, begun: Sequence[Begun], runs: Mapping[int, Run]) -> list[Injection]:
        """The injections with what happened in each one's time.

        `begun`: trainings in order; `runs`: the run of each initialisation seed.
        """
        trainings = [training for training in begun if training.seed in runs]
        ends = [*(injection.at for injection in self.injections[1:]), max(self.committed.values(), default=0.0)]
        for injection, end in zip(self.injections, ends, strict=False):
            end = max(end, injection.at)
            injection.seconds = end - injection.at
            injection.runs = sum(injection.at < at <= end for at in self.committed.values())
            before = [training for training in trainings if training.at <= injection.at]
            during = [training for training in trainings if injection.at < training.at <= end]
            injection.again = _again([training.seed for training in before], [training.seed for training in during])
            pids = {training.pid for training in before}
            new = [runs[training.seed] for training in during if training.pid not in pids]
            commits = [self.committed[run] for run in new if self.committed.get(run, 0) > injection.at]
            injection.replaced_after = min(commits) - injection.at if commits else None
        return self.injections


def _again(before: Sequence[int], during: Sequence[int]) -> int:
    """How many trainings were of runs whose training had begun earlier."""
    return len(before) + len(during) - len({*before, *during}) - (len(before) - len(set(before)))
