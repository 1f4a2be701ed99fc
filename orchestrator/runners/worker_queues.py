"""Queues of shards per worker, indexed by what the scheduler needs: idle workers, and the shard to repeat.

No question scans the workers. Every index is a heap whose entries are pushed when something changes and become invalid
by themselves, so that an event takes amortized O(log workers) time, however many workers there are.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

from orchestrator.runners.lazy_heap import LazyHeap
from workers.campaign.keys import Shard

_Entry = tuple[int, int]
"""(order in which it joined, number) of a worker."""


@dataclass
class WorkerQueue:
    """The shards sent to a worker, oldest first: it trains the first, since `since` (seconds of the clock).

    `order` counts the workers as they joined. One that is `draining` is sent nothing more.
    """

    kind: str
    order: int
    since: float
    shards: deque[Shard] = field(default_factory=deque)
    draining: bool = False


@dataclass
class _Kind:
    """The workers of one kind of hardware: idle ones, and those that alone have a shard, waiting or started.

    `started` has a heap of (since, order, worker) for each cost: of equal shards the oldest is the most overdue one.
    """

    idle: LazyHeap[_Entry]
    unstarted: LazyHeap[_Entry]
    started: dict[int, LazyHeap[tuple[float, int, int]]] = field(default_factory=dict)


def cost(shard: Shard) -> int:
    """The relative cost of training a shard: its number of runs times the size of their subsets."""
    return shard.ratio_ppm * (shard.stop - shard.start)


class WorkerQueues:
    """The shards that workers have. `finished` holds the shards whose outcome is final."""

    def __init__(self) -> None:
        self.finished: set[Shard] = set()
        self.running: set[Shard] = set()
        """Shards that were sent to a worker and are not finished."""
        self.num_active = 0
        """Workers that are not draining."""
        self._workers: dict[int, WorkerQueue] = {}
        self._joined = 0
        self._holders: dict[Shard, set[int]] = {}
        self._by_length: dict[int, LazyHeap[_Entry]] = {}
        self._kinds: dict[str, _Kind] = {}

    def get(self, worker: int) -> WorkerQueue | None:
        """A worker's queue; None where the worker is not known, or no longer."""
        return self._workers.get(worker)

    def add(self, worker: int, kind: str, now: float) -> None:
        """A new worker, which is idle."""
        self._workers[worker] = WorkerQueue(kind, self._joined, now)
        self._joined += 1
        self.num_active += 1
        self._index(worker)

    def remove(self, worker: int) -> list[Shard]:
        """Remove a worker; returns its shards, oldest first."""
        queue = self._workers.pop(worker, None)
        if queue is None:
            return []
        self.num_active -= not queue.draining
        for shard in queue.shards:
            self._release(worker, shard)
        return list(queue.shards)

    def drain(self, worker: int) -> list[Shard]:
        """Mark a worker as leaving; returns the shards that it has not begun and that no other has."""
        queue = self._workers.get(worker)
        if queue is None or queue.draining:
            return []
        queue.draining = True
        self.num_active -= 1
        return [shard for shard in islice(queue.shards, 1, None) if len(self._holders[shard]) == 1]

    def append(self, worker: int, shard: Shard, now: float) -> None:
        """Add a shard to a worker's queue."""
        queue = self._workers[worker]
        if not queue.shards:
            queue.since = now
        queue.shards.append(shard)
        self._holders.setdefault(shard, set()).add(worker)
        if shard not in self.finished:
            self.running.add(shard)
        self._index(worker)

    def take(self, worker: int, shard: Shard, now: float) -> float | None:
        """Remove a shard from a worker's queue; returns the seconds of its training, None where it was not begun."""
        queue = self._workers.get(worker)
        if queue is None or shard not in queue.shards:
            return None  # the last word of a worker that was lost since
        seconds = now - queue.since if queue.shards[0] == shard else None
        queue.shards.remove(shard)
        self._release(worker, shard)
        if seconds is not None:
            queue.since = now
        self._index(worker)
        return seconds

    def mark_finished(self, shard: Shard) -> None:
        """Record that the outcome of a shard is final."""
        self.finished.add(shard)
        self.running.discard(shard)

    def is_held(self, shard: Shard) -> bool:
        """Whether some worker has this shard."""
        return shard in self._holders

    def is_held_by_active(self, shard: Shard) -> bool:
        """Whether a worker that is not draining has this shard."""
        return any(not self._workers[holder].draining for holder in self._holders.get(shard, ()))

    def first_with_length(self, length: int) -> int | None:
        """The first worker to join of those that are not draining and have `length` shards."""
        entry = self._length_heap(length).smallest()
        return None if entry is None else entry[1]

    def kinds(self) -> list[str]:
        """All kinds of hardware that workers have had."""
        return list(self._kinds)

    def idle(self, kind: str) -> int | None:
        """The first worker to join of the idle ones of a kind that are not draining."""
        entry = self._kind(kind).idle.smallest()
        return None if entry is None else entry[1]

    def unstarted(self, kind: str) -> Shard | None:
        """A shard that one worker of this kind alone has and has not begun."""
        entry = self._kind(kind).unstarted.smallest()
        return None if entry is None else self._last_unstarted(self._workers[entry[1]])

    def most_overdue(self, kind: str, lateness: Callable[[int, float], float], least: float) -> Shard | None:
        """Of the shards that one worker of this kind alone trains, the one of the greatest lateness above `least`.

        `lateness` takes a shard's cost and the time since which it is trained.
        """
        heaps = self._kind(kind).started
        longest = {cost: first for cost, heap in heaps.items() if (first := heap.smallest()) is not None}
        for gone in heaps.keys() - longest.keys():
            del heaps[gone]
        late = [(lateness(cost, since), -order, worker) for cost, (since, order, worker) in longest.items()]
        latest, _, worker = max(late, default=(least, 0, 0))
        return self._workers[worker].shards[0] if latest > least else None

    def _release(self, worker: int, shard: Shard) -> None:
        holders = self._holders.get(shard, set())
        holders.discard(worker)
        if not holders:
            self._holders.pop(shard, None)
            self.running.discard(shard)
        elif len(holders) == 1:
            self._index(*holders)  # it alone has the shard now

    def _index(self, worker: int) -> None:
        """Push a worker to the heaps that it belongs to now; older entries of it become invalid by themselves."""
        queue = self._workers[worker]
        kind, entry = self._kind(queue.kind), (queue.order, worker)
        if not queue.draining:
            self._length_heap(len(queue.shards)).push(entry)
            if not queue.shards:
                kind.idle.push(entry)
        if self._last_unstarted(queue) is not None:
            kind.unstarted.push(entry)
        if queue.shards and self._alone(queue.shards[0]):
            self._started_heap(kind, cost(queue.shards[0])).push((queue.since, *entry))

    def _kind(self, name: str) -> _Kind:
        if name not in self._kinds:
            self._kinds[name] = _Kind(LazyHeap(lambda entry: self._has_length(entry, 0)), LazyHeap(self._has_unstarted))
        return self._kinds[name]

    def _length_heap(self, length: int) -> LazyHeap[_Entry]:
        if length not in self._by_length:
            self._by_length[length] = LazyHeap(lambda entry: self._has_length(entry, length))
        return self._by_length[length]

    def _started_heap(self, kind: _Kind, cost: int) -> LazyHeap[tuple[float, int, int]]:
        if cost not in kind.started:
            kind.started[cost] = LazyHeap(lambda entry: self._has_started(entry, cost))
        return kind.started[cost]

    def _of(self, order: int, worker: int) -> WorkerQueue | None:
        """The worker of an entry, unless it was lost since."""
        queue = self._workers.get(worker)
        return queue if queue is not None and queue.order == order else None

    def _has_length(self, entry: _Entry, length: int) -> bool:
        queue = self._of(*entry)
        return queue is not None and not queue.draining and len(queue.shards) == length

    def _has_unstarted(self, entry: _Entry) -> bool:
        queue = self._of(*entry)
        return queue is not None and self._last_unstarted(queue) is not None

    def _has_started(self, entry: tuple[float, int, int], cost_of_heap: int) -> bool:
        since, order, worker = entry
        queue = self._of(order, worker)
        if queue is None or queue.since != since or not queue.shards:
            return False
        return cost(queue.shards[0]) == cost_of_heap and self._alone(queue.shards[0])

    def _alone(self, shard: Shard) -> bool:
        """Whether exactly one worker has the shard, and it is not finished."""
        return len(self._holders[shard]) == 1 and shard not in self.finished

    def _last_unstarted(self, queue: WorkerQueue) -> Shard | None:
        """The last shard that a worker alone has and has not begun."""
        waiting = islice(reversed(queue.shards), max(0, len(queue.shards) - 1))
        return next((shard for shard in waiting if self._alone(shard)), None)
