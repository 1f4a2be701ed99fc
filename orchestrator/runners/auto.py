"""Chooses where shards train: in this process, or on all cores or GPUs of this machine with Ray.

Ray takes seconds to start. It is started once the work left is worth them: at once where no processor would be done
sooner, else after shards that train here and are timed. A shard has the same bits wherever it trains.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch

from orchestrator.runners.base import FailedShard, Job, Note, Outcome, Placement
from orchestrator.runners.local import LocalRunner
from orchestrator.runners.machine_slots import machine_slots
from orchestrator.runners.placement_choice import choose_placement
from orchestrator.runners.run_options import RunOptions
from workers.campaign.campaign import Campaign
from workers.campaign.keys import Shard
from workers.training import Precision
from workers.training.hardware import Machine
from workers.training.shard import ShardSummary
from workers.training.stack_choice import StackChoice

if TYPE_CHECKING:
    from orchestrator.runners.ray.runner import RayRunner

_TIMED_SECONDS = 2.0
"""So much training is timed before its time tells that Ray is worth it: a first shard includes what happens once."""


class AutoRunner:
    """Trains in this process, and with Ray on this machine's cores or GPUs once the work left is worth its start."""

    def __init__(self, options: RunOptions) -> None:
        """Raises CampaignError where this machine lacks the device."""
        self._options = options
        self._local = LocalRunner(options.device)
        self._device = torch.device(self._local.device).type
        # A core's own time: what else the machine is busy with would slow Ray's start as well.
        self._clock: Callable[[], float] = time.thread_time if self._device == "cpu" else time.perf_counter
        self._seconds, self._operations = 0.0, 0.0
        self._ray: RayRunner | None = None
        self._news: list[Placement] = []
        self._announced: set[Literal["here", "ray"]] = set()

    def machine(self) -> Machine:
        """See `Runner.machine`."""
        return self._local.machine()

    def fastest_stack(self, campaign: Campaign, sizes: Sequence[int], precision: Precision) -> StackChoice:
        """See `Runner.fastest_stack`."""
        return self._local.fastest_stack(campaign, sizes, precision)

    def run(self, job: Job, shards: Sequence[Shard]) -> Generator[Outcome, None, None]:
        """See `Runner.run`. What hinders Ray is noted, and the shards train in this process."""
        left = _ShardsLeft(job, shards)
        if not self._chooses_ray(left):
            yield from self._drain_news()
            for outcome in self._local.train_in_turn(job, self._timed(left)):
                yield from self._drain_news()
                yield outcome
        yield from self._drain_news()
        if left.shards:
            yield from self._on_ray(job, list(left.shards))

    def close(self) -> None:
        """End Ray where it was started."""
        if self._ray is not None:
            self._ray.close()
            self._ray = None

    def _timed(self, left: "_ShardsLeft") -> Iterator[tuple[Shard, Shard | None]]:
        """The shards to train here, each with the one after it; those for Ray stay in `left`."""
        while left.shards:
            started, shard = self._clock(), left.take()
            yield shard, left.shards[0] if left.shards else None
            self._seconds += self._clock() - started
            self._operations += left.of(shard)
            if left.shards and self._chooses_ray(left):
                return

    def _chooses_ray(self, left: "_ShardsLeft") -> bool:
        """Decide by what is known of the work left."""
        seconds = left.operations * self._seconds / self._operations if self._operations else None
        choice = choose_placement(self._device, len(left.shards), left.operations, seconds)
        if choice.timed and self._seconds < _TIMED_SECONDS:
            return False
        if choice.where is not None:
            self._announce(choice.where, f"training {choice.text}")
        return choice.where == "ray"

    def _announce(self, where: Literal["here", "ray"], text: str) -> None:
        """Once for each place: later estimates differ by little."""
        if where not in self._announced:
            self._announced.add(where)
            self._news.append(Placement(text))

    def _drain_news(self) -> Iterator[Placement]:
        news, self._news = self._news, []
        yield from news

    def _on_ray(self, job: Job, shards: Sequence[Shard]) -> Generator[Outcome, None, None]:
        """Train with Ray; in this process what is left once Ray has a problem."""
        from orchestrator.runners.ray.preflight import ClusterError
        from orchestrator.runners.ray.runner import RayRunner

        workers = machine_slots(self._device, len(shards)).workers
        gpus = 0.0 if self._device == "cpu" else 1.0
        options = replace(self._options, runner="ray", workers=workers, gpus_per_worker=gpus)
        left = dict.fromkeys(shards)
        self._ray = self._ray or RayRunner(options)
        try:
            for outcome in self._ray.run(job, shards):
                if isinstance(outcome, ShardSummary):
                    left.pop(outcome.shard, None)
                elif isinstance(outcome, FailedShard):
                    left.pop(outcome.error.shard, None)
                yield outcome
        except ClusterError as error:
            self.close()
            yield Note(f"Ray cannot be used, so training went on in one process: {error}")
            yield Placement("training in this process: Ray cannot be used")
            yield from self._local.run(job, list(left))


class _ShardsLeft:
    """Shards that are not trained yet, and their operations."""

    def __init__(self, job: Job, shards: Sequence[Shard]) -> None:
        self.shards = deque(shards)
        self._of_run = job.operations
        self.operations = sum(map(self.of, shards))

    def of(self, shard: Shard) -> float:
        """Floating-point operations; where they are unknown, all runs are alike."""
        return (shard.stop - shard.start) * self._of_run.get(shard.ratio_ppm, 1.0)

    def take(self) -> Shard:
        """Remove and return the next shard."""
        shard = self.shards.popleft()
        self.operations -= self.of(shard)
        return shard
