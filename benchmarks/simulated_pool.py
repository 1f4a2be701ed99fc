"""Simulated workers with a simulated clock, for `orchestrator.runners.ray.runner.drive` on a large cluster.

Some workers are slow, some stand still for ever, some die: a campaign on them ends with stragglers and repeats.
"""

import random
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import count

from orchestrator.runners.base import WorkersChanged
from orchestrator.runners.ray.pool import Event, Pool, ShardEnded, WorkerLost, WorkerReady
from orchestrator.runners.worker_queues import cost
from workers.campaign.keys import Shard
from workers.training.shard import ShardSummary

_POLL_SECONDS = 1.0
_RESTART_SECONDS = 10.0
_SECONDS_PER_COST = 60 / (8 * 500_000)
"""A shard of 8 runs on half of the examples takes a minute."""

_SLOW, _FROZEN, _DYING = 0.01, 0.0025, 0.01
"""These parts of the workers take ten times as long, never end their 20th shard, and die in their 10th."""


class SimulatedPool(Pool):
    """Everything of a pool that `drive` uses, without Ray. `now` is its clock in seconds.

    Each call of `wait` tells of one event only, so that the driver's work for an event is never shared.
    """

    def __init__(self, workers: int, seed: int = 0) -> None:
        self.now = 0.0
        self.sent = 0
        self._chance = random.Random(seed)  # noqa: S311 - a simulation
        self._events: list[tuple[float, int, int, Event]] = []
        self._order = count()
        self._lives = [0] * workers
        self._free = [0.0] * workers
        self._taken = [0] * workers
        self._fate = self._chance.choices(
            ["slow", "frozen", "dying", ""], [_SLOW, _FROZEN, _DYING, 1 - _SLOW - _FROZEN - _DYING], k=workers
        )
        self.lost = 0
        for worker in range(workers):
            self._push_event(self._chance.uniform(5, 60), worker, WorkerReady(worker, "simulated"))

    def adapt(self, requested: int) -> list[int]:
        """No node joins or leaves."""
        return []

    def send(self, worker: int, shard: Shard) -> None:
        """A worker trains a shard after those that it has."""
        self.sent += 1
        self._taken[worker] += 1
        seconds = cost(shard) * _SECONDS_PER_COST * self._chance.lognormvariate(0, 0.2)
        match self._fate[worker], self._taken[worker]:
            case "slow", _:
                seconds *= 10
            case "frozen", taken if taken >= 20:
                seconds = float("inf")
            case "dying", 10:
                death = max(self.now, self._free[worker]) + seconds / 2
                self._push_event(death, worker, WorkerLost(worker, node_lost=False))
        self._free[worker] = max(self.now, self._free[worker]) + seconds
        self._push_event(self._free[worker], worker, ShardEnded(worker, shard, ShardSummary(shard, diverged=0)))

    def wait(self) -> Iterator[Event]:
        """The next event, or nothing where a second passes without one."""
        while self._events and self._events[0][0] <= self.now + _POLL_SECONDS:
            moment, _, life, event = heappop(self._events)
            if life != self._lives[event.worker]:
                continue  # of a worker that died since
            self.now = max(self.now, moment)
            if isinstance(event, WorkerLost):
                self.lost += 1
                self._lives[event.worker] += 1
                self._free[event.worker] = self.now + _RESTART_SECONDS
                self._push_event(self._free[event.worker], event.worker, WorkerReady(event.worker, "simulated"))
            yield event
            return
        self.now += _POLL_SECONDS

    def workers_changed(self) -> WorkersChanged:
        """See `Pool.workers_changed`."""
        return WorkersChanged(ready=len(self._lives), lost=self.lost)

    def _push_event(self, moment: float, worker: int, event: Event) -> None:
        if moment < float("inf"):
            heappush(self._events, (moment, next(self._order), self._lives[worker], event))
