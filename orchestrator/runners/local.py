"""Trains shards in this process, one after the other, each written while the next one trains."""

from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import zip_longest

import torch

from orchestrator.runners.base import Attempts, FailedShard, Job, Outcome, WorkersChanged
from workers.campaign.campaign import Campaign
from workers.campaign.keys import Shard
from workers.errors import CampaignError, StoreError
from workers.store import RunResult
from workers.training import Precision
from workers.training.hardware import Machine, detect_machine
from workers.training.shard import ShardError, ShardSummary, Worker
from workers.training.stack_calibration import calibrate
from workers.training.stack_choice import StackChoice


def available_device(device: str | None) -> str:
    """The torch device requested; None: the GPU where there is one. Raises CampaignError where there is no such GPU."""
    if device is not None and device.startswith("cuda") and not torch.cuda.is_available():
        raise CampaignError(f"device: PyTorch sees no GPU on this machine, got {device!r}")
    return device or ("cuda" if torch.cuda.is_available() else "cpu")


class LocalRunner:
    """One worker, in this process, on the GPU where there is one."""

    def __init__(self, device: str | None = None) -> None:
        """`device` is a torch device, such as `cpu`. Raises CampaignError where this machine has it not."""
        self.device = available_device(device)

    def machine(self) -> Machine:
        """See `Runner.machine`."""
        return detect_machine(torch.device(self.device))

    def fastest_stack(self, campaign: Campaign, sizes: Sequence[int], precision: Precision) -> StackChoice:
        """See `Runner.fastest_stack`."""
        return calibrate(campaign, sizes, precision, torch.device(self.device))

    def run(self, job: Job, shards: Sequence[Shard]) -> Generator[Outcome, None, None]:
        """See `Runner.run`."""
        yield from self.train_in_turn(job, zip_longest(shards, shards[1:]))

    def train_in_turn(self, job: Job, shards: Iterable[tuple[Shard, Shard | None]]) -> Generator[Outcome, None, None]:
        """As `run`, of pairs: a shard, and the one that is expected to follow, which is prepared meanwhile.

        The next pair is requested when the shard before has been trained.
        """
        worker = Worker(job.campaign, job.store_uri, self.device, job.checkpoint_minutes)
        yield WorkersChanged(ready=1, lost=0)
        attempts = Attempts()
        with ThreadPoolExecutor(1) as writer:
            writing: Future[ShardSummary | ShardError] | None = None
            for shard, following in shards:
                trained = _trained(worker, shard, following, attempts)
                if writing is not None:
                    yield _written(writing)
                    writing = None
                if isinstance(trained, FailedShard):
                    yield trained
                else:
                    writing = writer.submit(worker.commit, shard, trained)
            if writing is not None:
                yield _written(writing)


def _trained(
    worker: Worker, shard: Shard, following: Shard | None, attempts: Attempts
) -> FailedShard | list[RunResult]:
    while True:
        results = worker.train(shard, following)
        if not isinstance(results, ShardError):
            return results
        failed_shard = attempts.record_failure(results)
        if failed_shard is not None:
            return failed_shard


def _written(writing: Future[ShardSummary | ShardError]) -> ShardSummary:
    outcome = writing.result()
    if isinstance(outcome, ShardError):
        raise StoreError(outcome.message)
    return outcome
