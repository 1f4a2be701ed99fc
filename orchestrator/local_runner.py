"""Trains shards in this process, one after the other."""

from collections.abc import Generator, Sequence

import torch

from orchestrator.runner import Attempts, GivenUp, Job, Outcome, WorkersChanged
from workers.errors import StoreError
from workers.runs import Shard
from workers.shard import ShardSummary, Worker


class LocalRunner:
    """One worker, in this process, on the GPU where there is one."""

    def __init__(self, device: str | None = None) -> None:
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")

    def run(self, job: Job, shards: Sequence[Shard]) -> Generator[Outcome, None, None]:
        """See `Runner.run`."""
        worker = Worker(job.campaign, job.store_uri, self.device)
        yield WorkersChanged(ready=1, lost=0)
        attempts = Attempts()
        for shard in shards:
            yield _outcome(worker, shard, attempts)


def _outcome(worker: Worker, shard: Shard, attempts: Attempts) -> ShardSummary | GivenUp:
    while True:
        outcome = worker.attempt(shard)
        if isinstance(outcome, ShardSummary):
            return outcome
        if outcome.kind == "store":
            raise StoreError(outcome.message)
        given_up = attempts.give_up(outcome)
        if given_up is not None:
            return given_up
