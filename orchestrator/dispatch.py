"""Decides which worker trains which shard, and what is final about each one. Knows workers by number, not by Ray.

Every ready worker is kept busy. A lost worker's shards are sent again. At the end of a campaign idle workers also train
the shards that others have not begun, or that run far past what the others took: the first to commit wins, and the
store takes equal content twice.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

from orchestrator.runner import Attempts, GivenUp
from workers.errors import StoreError
from workers.runs import Shard
from workers.shard import ShardError, ShardSummary

MAX_LOST = 5
"""A shard whose worker died so often takes its workers down itself (out of memory, a crash in native code)."""

MAX_NODES_LOST = 20
"""Nodes come and go for reasons of their own; but a shard may also exhaust a whole node."""

OVERDUE = 2.0
"""A shard is also given to an idle worker once it takes so many times what its like took (the median)."""

_LEAST_OVERDUE_SECONDS = 1.0
_LEAST_DURATIONS = 3
_REMEMBERED = 200
_QUEUED_SECONDS = 0.2
_IN_FLIGHT = (2, 32)
"""Shards sent to a worker at a time: two, so that it need not wait for the next; more where they take milliseconds."""


@dataclass
class _Desk:
    """What a worker was sent, oldest first: it works on the first, since `since` (seconds of the clock)."""

    kind: str
    since: float
    sent: deque[Shard] = field(default_factory=deque)
    leaving: bool = False


class Dispatch:
    """The shards of one call, from queue to outcome."""

    def __init__(self, shards: Sequence[Shard], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._queue = deque(shards)
        self._total = len(set(shards))
        self._settled: set[Shard] = set()
        self._desks: dict[int, _Desk] = {}
        self._holders: dict[Shard, set[int]] = {}
        self._attempts = Attempts()
        self._losses: Counter[Shard] = Counter()
        self._nodes_lost: Counter[Shard] = Counter()
        self._pace: deque[float] = deque(maxlen=_REMEMBERED)
        self._durations: deque[float] = deque(maxlen=_REMEMBERED)

    @property
    def left(self) -> int:
        """Shards that are neither committed nor given up."""
        return self._total - len(self._settled)

    @property
    def running(self) -> int:
        """Shards that are with a worker."""
        return sum(shard not in self._settled for shard in self._holders)

    def join(self, worker: int, kind: str) -> None:
        """A worker is ready for shards. `kind` is its hardware: only its like may repeat what it trains."""
        self._desks[worker] = _Desk(kind, self._clock())

    def retire(self, worker: int) -> None:
        """Send a worker nothing more; what it has not begun goes to others."""
        desk = self._desks.get(worker)
        if desk is None or desk.leaving:
            return
        desk.leaving = True
        waiting = list(desk.sent)[1:]
        self._queue.extendleft(shard for shard in reversed(waiting) if len(self._holders[shard]) == 1)

    def idle(self, worker: int) -> bool:
        """Has a worker nothing to do."""
        desk = self._desks.get(worker)
        return desk is None or not desk.sent

    def assign(self) -> Iterator[tuple[int, Shard]]:
        """Shards to send now, each with its worker. Idle workers first; more than one only while there is plenty."""
        staying = {worker: desk for worker, desk in self._desks.items() if not desk.leaving}
        for depth in range(1, self._depth() + 1):
            for worker, desk in staying.items():
                if len(desk.sent) < depth and (depth == 1 or len(self._queue) > len(staying)):
                    shard = self._next()
                    if shard is not None:
                        yield self._send(worker, desk, shard)
        if not self._queue:
            for worker, desk in staying.items():
                shard = None if desk.sent else self._overdue(desk.kind)
                if shard is not None:
                    yield self._send(worker, desk, shard)

    def ended(self, worker: int, shard: Shard, result: ShardSummary | ShardError) -> ShardSummary | GivenUp | None:
        """What is final about a shard now that a call of it has ended; None where nothing is, or was known before.

        Raises StoreError where the shard could not be committed.
        """
        self._take_from(worker, shard, trained=isinstance(result, ShardSummary))
        if shard in self._settled:
            return None
        if isinstance(result, ShardError):
            if result.kind == "store":
                raise StoreError(result.message)
            given_up = self._attempts.give_up(result)
            if given_up is None:
                self._requeue([shard])
                return None
            self._settled.add(shard)
            return given_up
        self._settled.add(shard)
        return result

    def lose(self, worker: int, node_lost: bool) -> GivenUp | None:
        """A worker is gone, with all that it was sent. GivenUp: its shard has taken too many workers down.

        The blame goes to the oldest shard it was sent, the one that it was working on; less of it where the node went.
        """
        desk = self._desks.pop(worker, None)
        if desk is None:
            return None
        for shard in desk.sent:
            self._release(worker, shard)
        given_up = None
        if desk.sent and desk.sent[0] not in self._settled:
            given_up = self._blame(desk.sent[0], node_lost)
        self._requeue(desk.sent)
        return given_up

    def _blame(self, shard: Shard, node_lost: bool) -> GivenUp | None:
        counts, most = (self._nodes_lost, MAX_NODES_LOST) if node_lost else (self._losses, MAX_LOST)
        counts[shard] += 1
        if counts[shard] < most:
            return None
        self._settled.add(shard)
        what = "node was lost" if node_lost else "process died"
        message = f"the worker's {what} {counts[shard]} times while it trained this shard"
        return GivenUp(ShardError(shard, "user", message, message), counts[shard])

    def _requeue(self, shards: Sequence[Shard] | deque[Shard]) -> None:
        """To the head of the queue, unless another worker has them."""
        for shard in reversed(shards):
            if shard not in self._settled and shard not in self._holders:
                self._queue.appendleft(shard)

    def _next(self) -> Shard | None:
        while self._queue:
            shard = self._queue.popleft()
            taken = any(not self._desks[holder].leaving for holder in self._holders.get(shard, ()))
            if shard not in self._settled and not taken:
                return shard
        return None

    def _send(self, worker: int, desk: _Desk, shard: Shard) -> tuple[int, Shard]:
        if not desk.sent:
            desk.since = self._clock()
        desk.sent.append(shard)
        self._holders.setdefault(shard, set()).add(worker)
        return worker, shard

    def _release(self, worker: int, shard: Shard) -> None:
        holders = self._holders.get(shard, set())
        holders.discard(worker)
        if not holders:
            self._holders.pop(shard, None)

    def _take_from(self, worker: int, shard: Shard, trained: bool) -> None:
        desk = self._desks.get(worker)
        if desk is None or shard not in desk.sent:
            return  # the last word of a worker that was lost since
        now, first = self._clock(), desk.sent[0] == shard
        desk.sent.remove(shard)
        self._release(worker, shard)
        if first and trained:
            self._durations.append(now - desk.since)
            self._pace.append((now - desk.since) / _cost(shard))
        if first:
            desk.since = now

    def _depth(self) -> int:
        least, most = _IN_FLIGHT
        if len(self._durations) < _LEAST_DURATIONS:
            return least
        return max(least, min(most, round(_QUEUED_SECONDS / max(median(self._durations), 1e-6))))

    def _overdue(self, kind: str) -> Shard | None:
        """The shard that a second worker of this kind should train too: one not begun, else the most overdue one."""
        worst, factor = None, OVERDUE
        for desk in self._desks.values():
            alone = [shard for shard in desk.sent if len(self._holders[shard]) == 1 and shard not in self._settled]
            if desk.kind != kind or not alone:
                continue
            if alone[0] != desk.sent[0] or len(alone) > 1:
                return alone[-1]
            lateness = self._lateness(alone[0], self._clock() - desk.since)
            if lateness > factor:
                worst, factor = alone[0], lateness
        return worst

    def _lateness(self, shard: Shard, seconds: float) -> float:
        """How many times what its like took a shard has taken; 0 while that cannot be said."""
        if len(self._pace) < _LEAST_DURATIONS or seconds < _LEAST_OVERDUE_SECONDS:
            return 0.0
        return seconds / max(median(self._pace) * _cost(shard), 1e-9)


def _cost(shard: Shard) -> int:
    """What training takes grows with the number of runs and the size of their subsets."""
    return shard.parts * (shard.stop - shard.start)
