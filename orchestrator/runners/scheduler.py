"""Assigns shards to workers and decides their outcomes. Workers are numbers; knows nothing of Ray.

Every ready worker is kept busy. A lost worker's shards are sent again. At the end of a campaign idle workers also train
the shards that others have not begun, or that run far past what the others took: the first to commit wins, and the
store takes equal content twice.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence

from orchestrator.runners.base import Attempts, FailedShard
from orchestrator.runners.running_median import RunningMedian
from orchestrator.runners.worker_queues import WorkerQueues, cost
from workers.campaign.keys import Shard
from workers.errors import StoreError
from workers.training.shard import ShardError, ShardSummary

MAX_LOST = 5
"""A shard whose worker died so often takes its workers down itself (out of memory, a crash in native code)."""

MAX_NODES_LOST = 20
"""Nodes come and go for reasons of their own; but a shard may also exhaust a whole node."""

OVERDUE = 2.0
"""A shard is also given to an idle worker once it takes so many times what its like took (the median)."""

_MIN_OVERDUE_SECONDS = 1.0
_MIN_DURATIONS = 3
_WINDOW = 200
_QUEUED_SECONDS = 0.2
_IN_FLIGHT = (2, 32)
"""Shards sent to a worker at a time: two, so that it need not wait for the next; more where they take milliseconds."""


class Scheduler:
    """The shards of one call, from queue to outcome. Every event takes amortized O(log workers) time."""

    def __init__(self, shards: Sequence[Shard], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._queue = deque(shards)
        self._total = len(set(shards))
        self._workers = WorkerQueues()
        self._attempts = Attempts()
        self._losses: Counter[Shard] = Counter()
        self._nodes_lost: Counter[Shard] = Counter()
        self._pace = RunningMedian(_WINDOW)
        self._durations = RunningMedian(_WINDOW)

    @property
    def unfinished(self) -> int:
        """Shards that are neither committed nor given up."""
        return self._total - len(self._workers.finished)

    @property
    def running(self) -> int:
        """Shards that were sent to a worker."""
        return len(self._workers.running)

    def add_worker(self, worker: int, kind: str) -> None:
        """A worker is ready. `kind` is its hardware: only workers of the same kind may repeat its shards."""
        self._requeue(self._workers.remove(worker))
        self._workers.add(worker, kind, self._clock())

    def drain(self, worker: int) -> None:
        """Send a worker no more shards; those that it has not started go to others."""
        self._queue.extendleft(reversed(self._workers.drain(worker)))

    def is_idle(self, worker: int) -> bool:
        """Whether a worker has no shards."""
        queue = self._workers.get(worker)
        return queue is None or not queue.shards

    def assign(self) -> Iterator[tuple[int, Shard]]:
        """Shards to send now, each with its worker. Idle workers first; more than one only while there is plenty."""
        for depth in range(1, self._depth() + 1):
            while depth == 1 or len(self._queue) > self._workers.num_active:
                worker = self._workers.first_with_length(depth - 1)
                shard = None if worker is None else self._next()
                if worker is None or shard is None:
                    break
                yield self._send(worker, shard)
        if self._queue:
            return
        for kind in self._workers.kinds():
            while (worker := self._workers.idle(kind)) is not None and (shard := self._overdue(kind)) is not None:
                yield self._send(worker, shard)

    def on_shard_end(
        self, worker: int, shard: Shard, result: ShardSummary | ShardError
    ) -> ShardSummary | FailedShard | None:
        """The final outcome of a shard after a call of it ended; None where there is none yet, or it was known before.

        Raises StoreError where the shard could not be committed.
        """
        seconds = self._workers.take(worker, shard, self._clock())
        if seconds is not None and isinstance(result, ShardSummary):
            self._durations.append(seconds)
            self._pace.append(seconds / cost(shard))
        if shard in self._workers.finished:
            return None
        if isinstance(result, ShardError):
            if result.kind == "store":
                raise StoreError(result.message)
            failed_shard = self._attempts.record_failure(result)
            if failed_shard is None:
                self._requeue([shard])
                return None
            self._workers.mark_finished(shard)
            return failed_shard
        self._workers.mark_finished(shard)
        return result

    def on_worker_lost(self, worker: int, node_lost: bool) -> FailedShard | None:
        """A worker was lost; its shards are queued again. Returns a FailedShard where one has lost too many workers.

        The loss is counted against the oldest shard it was sent, the one in training. Lost nodes have a higher limit.
        """
        sent = self._workers.remove(worker)
        failed_shard = None
        if sent and sent[0] not in self._workers.finished:
            failed_shard = self._count_loss(sent[0], node_lost)
        self._requeue(sent)
        return failed_shard

    def _count_loss(self, shard: Shard, node_lost: bool) -> FailedShard | None:
        counts, most = (self._nodes_lost, MAX_NODES_LOST) if node_lost else (self._losses, MAX_LOST)
        counts[shard] += 1
        if counts[shard] < most:
            return None
        self._workers.mark_finished(shard)
        what = "node was lost" if node_lost else "process died"
        message = f"the worker's {what} {counts[shard]} times while it trained this shard"
        return FailedShard(ShardError(shard, "user", message, message), counts[shard])

    def _requeue(self, shards: Sequence[Shard]) -> None:
        """To the head of the queue, unless another worker has them."""
        for shard in reversed(shards):
            if shard not in self._workers.finished and not self._workers.is_held(shard):
                self._queue.appendleft(shard)

    def _next(self) -> Shard | None:
        while self._queue:
            shard = self._queue.popleft()
            if shard not in self._workers.finished and not self._workers.is_held_by_active(shard):
                return shard
        return None

    def _send(self, worker: int, shard: Shard) -> tuple[int, Shard]:
        self._workers.append(worker, shard, self._clock())
        return worker, shard

    def _depth(self) -> int:
        least, most = _IN_FLIGHT
        if len(self._durations) < _MIN_DURATIONS:
            return least
        return max(least, min(most, round(_QUEUED_SECONDS / max(self._durations.value(), 1e-6))))

    def _overdue(self, kind: str) -> Shard | None:
        """The shard that a second worker of this kind should train too: one not begun, else the most overdue one."""
        waiting = self._workers.unstarted(kind)
        if waiting is not None:
            return waiting
        now = self._clock()
        return self._workers.most_overdue(kind, lambda cost, since: self._lateness(cost, now - since), OVERDUE)

    def _lateness(self, cost: int, seconds: float) -> float:
        """A shard's time relative to the median of its kind; 0 while there are too few durations."""
        if len(self._pace) < _MIN_DURATIONS or seconds < _MIN_OVERDUE_SECONDS:
            return 0.0
        return seconds / max(self._pace.value() * cost, 1e-9)
