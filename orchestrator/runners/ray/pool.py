"""Pool of worker actors on a Ray cluster that follows nodes as they join and leave.

Actors come back by themselves after a crash (`max_restarts`), but their shards are sent again by the driver
(`max_task_retries=0`), which alone knows what is committed. A `RayActorError` only means that a shard's outcome is
unknown; training it twice is harmless, since the store takes the first of equal files.
"""

import queue
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import (
    ActorUnavailableError,
    NodeDiedError,
    OutOfMemoryError,
    RayActorError,
    RuntimeEnvSetupError,
    WorkerCrashedError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.runners.base import Job, WorkersChanged
from orchestrator.runners.ray.cluster import search_path
from orchestrator.runners.ray.head_watch import head_problem
from orchestrator.runners.ray.placement import next_worker_nodes, node_names
from orchestrator.runners.ray.preflight import ClusterError
from orchestrator.runners.ray.session import cluster_nodes
from orchestrator.runners.ray.worker_actor import LoadProblem, WorkerActor
from workers.campaign.keys import Shard
from workers.training.shard import ShardError, ShardSummary

MAX_FAILED_LOADS = 5
_LOST = (RayActorError, NodeDiedError, OutOfMemoryError, WorkerCrashedError)
_POLL_SECONDS = 1.0
_NODE_POLL_SECONDS = 2.0
"""How often the pool looks which nodes there are."""
_PAUSE_SECONDS = 0.5
"""Before a worker that was lost is asked to load again: while Ray starts it anew, calls fail at once."""


@dataclass(frozen=True)
class WorkerReady:
    """A worker is ready: it trains on `kind` (`cpu`, or its GPU's name)."""

    worker: int
    kind: str


@dataclass(frozen=True)
class LoadFailed:
    """A worker cannot load the campaign. Its node is not asked again."""

    worker: int
    problem: LoadProblem


@dataclass(frozen=True)
class ShardEnded:
    """A call that trains a shard has returned."""

    worker: int
    shard: Shard
    result: ShardSummary | ShardError


@dataclass(frozen=True)
class WorkerLost:
    """A worker died, or its node did; Ray starts the worker anew, here or elsewhere."""

    worker: int
    node_lost: bool


Event = WorkerReady | LoadFailed | ShardEnded | WorkerLost


@dataclass
class _ActorHandle:
    """An actor; the node it was meant for or is on; how often it was restarted, and whether it is ready."""

    actor: Any
    node: str | None
    restarts: int = 0
    ready: bool = False
    failed_loads: int = 0
    calls: set["Future[Any]"] = field(default_factory=set)


class Pool:
    """The actors, and every call that is open: (worker, its restarts so far, shard, or None for loading the data).

    A call that ends puts itself into a queue. `ray.wait` would look at every open call for each one that ended: 60 ms
    beside 8,000 open ones.
    """

    def __init__(
        self, job: Job, gpus: float, device: str, max_workers: int | None, actor: type[WorkerActor] = WorkerActor
    ) -> None:
        """At most `max_workers`, also where the cluster has fewer slots now, so that an autoscaler sees the demand.
        Without it, as many as there are slots."""
        # As many calls at a time as are needed: the worker writes one shard while it trains the next.
        limits = {"max_restarts": -1, "max_task_retries": 0, "max_concurrency": 2}
        self._remote = ray.remote(num_cpus=0 if gpus else 1, num_gpus=gpus, **limits)(actor)
        self._job, self._gpus, self._device, self._max_workers = job, gpus, device, max_workers
        self._handles: dict[int, _ActorHandle] = {}
        self._calls: dict[Future[Any], tuple[int, int, Shard | None]] = {}
        self._finished: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        self._ready: Counter[str] = Counter()
        self._alive: set[str] | None = None
        self._reloads: dict[int, float] = {}
        self._next_worker = 0
        self._excluded_nodes: set[str] = set()
        self._names: dict[str, str] = {}
        self._last_node_poll = float("-inf")
        self.lost = 0

    def adapt(self, requested: int) -> list[int]:
        """Add workers where nodes joined, up to `requested`; returns the workers whose nodes are about to leave."""
        if time.monotonic() - self._last_node_poll < _NODE_POLL_SECONDS:
            return []
        self._last_node_poll = time.monotonic()
        if head_problem(ray.get_runtime_context().gcs_address) is not None:
            return []  # back in moments, or gone for good: see `head_watch`
        alive = cluster_nodes()
        self._names = node_names(alive)
        nodes = [node for node in alive if node.node_id not in self._excluded_nodes]
        slots = sum(node.slots(self._gpus) for node in nodes)
        count = min(self._max_workers or slots, requested) - len(self._handles)
        if count > 0:
            taken = Counter(handle.node for handle in self._handles.values() if handle.node is not None)
            chosen: list[str | None] = list(next_worker_nodes(nodes, taken, self._gpus, count))
            if self._max_workers and not self._excluded_nodes:  # also those that no node has room for yet
                chosen += [None] * (count - len(chosen))
            for node in chosen:
                self._start(node)
        leaving = {node.node_id for node in nodes if node.leaving}
        return [worker for worker, handle in self._handles.items() if handle.node in leaving]

    def send(self, worker: int, shard: Shard) -> None:
        """Send a worker a shard, which it trains after those that it has."""
        self._open(self._handles[worker].actor.attempt.remote(shard), worker, shard)

    def wait(self) -> Iterator[Event]:
        """The next events; none where nothing happens for a second."""
        for worker in [worker for worker, due in self._reloads.items() if due <= time.monotonic()]:
            del self._reloads[worker]
            self._load(worker)
        if not self._calls:
            time.sleep(_PAUSE_SECONDS if self._reloads else _POLL_SECONDS)
            return
        self._alive = None
        for call in self._ended():
            if call not in self._calls:
                continue  # its worker was killed just now
            worker, restarts, shard = self._calls.pop(call)
            self._handles[worker].calls.discard(call)
            try:
                result = call.result()
            except _LOST as error:
                event = self._died(worker, restarts, shard is None, error)
            except RuntimeEnvSetupError as error:
                reason = str(error).strip().splitlines()[-1]
                raise ClusterError(f"a worker's environment cannot be set up: {reason}") from error
            else:
                event = self._loaded(worker, *result) if shard is None else ShardEnded(worker, shard, result)
            if event is not None:
                yield event

    def kill_worker(self, worker: int) -> None:
        """End a worker at once."""
        handle = self._handles.pop(worker, None)
        self._reloads.pop(worker, None)
        if handle is not None:
            self._set_ready(handle, False)
            for call in handle.calls:
                del self._calls[call]
            ray.kill(handle.actor)

    def exclude_node(self, worker: int) -> bool:
        """End a worker, and start none on its node again. False where that node was excluded before."""
        node = self._handles[worker].node
        self.kill_worker(worker)
        fresh = node is not None and node not in self._excluded_nodes
        self._excluded_nodes |= {node} if node is not None else set()
        return fresh

    def close(self) -> None:
        """End all workers."""
        for worker in list(self._handles):
            self.kill_worker(worker)

    def workers_changed(self) -> WorkersChanged:
        """The present numbers of workers and of their nodes."""
        by_node = {self._names.get(node, node[:6]): workers for node, workers in self._ready.most_common()}
        return WorkersChanged(ready=self._ready.total(), lost=self.lost, nodes=len(self._ready), by_node=by_node)

    @property
    def size(self) -> int:
        """Workers, those included that wait for a slot."""
        return len(self._handles)

    def _start(self, node: str | None) -> None:
        remote = self._remote
        if node is not None:
            remote = remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=True))
        worker, self._next_worker = self._next_worker, self._next_worker + 1
        self._handles[worker] = _ActorHandle(remote.remote(self._job, self._device, search_path()), node)
        self._load(worker)

    def _load(self, worker: int) -> None:
        self._open(self._handles[worker].actor.load.remote(), worker, None)

    def _open(self, reference: Any, worker: int, shard: Shard | None) -> None:
        """Register a call, so that `wait` reports its end."""
        call, handle = reference.future(), self._handles[worker]
        self._calls[call] = (worker, handle.restarts, shard)
        handle.calls.add(call)
        call.add_done_callback(self._finished.put)

    def _ended(self) -> Iterator["Future[Any]"]:
        """The calls that have ended, as soon as there is one; none after a second."""
        try:
            yield self._finished.get(timeout=_POLL_SECONDS)
            for _ in range(self._finished.qsize()):
                yield self._finished.get_nowait()
        except queue.Empty:
            return

    def _set_ready(self, handle: _ActorHandle, ready: bool) -> None:
        if handle.ready != ready:
            handle.ready = ready
            self._ready[handle.node or ""] += 1 if ready else -1
            if not self._ready[handle.node or ""]:
                del self._ready[handle.node or ""]

    def _loaded(self, worker: int, node: str, kind: str, problem: LoadProblem | None) -> Event | None:
        handle = self._handles.get(worker)
        if handle is None:
            return None
        self._set_ready(handle, False)
        handle.node = node
        if problem is not None:
            return LoadFailed(worker, problem)
        self._set_ready(handle, True)
        handle.failed_loads = 0
        return WorkerReady(worker, kind)

    def _died(self, worker: int, restarts: int, loading: bool, error: Exception) -> Event | None:
        """The first failing call since a restart reports the loss; the other open calls fail too, and are ignored."""
        handle = self._handles.get(worker)
        if handle is None or handle.restarts != restarts:
            return None
        if self._alive is None:  # looked up once for all that ended together
            self._alive = {node.node_id for node in cluster_nodes()}
        node_lost = handle.node not in self._alive
        handle.restarts += 1
        self._reloads[worker] = time.monotonic() + _PAUSE_SECONDS
        if loading and isinstance(error, ActorUnavailableError):
            return None  # it was lost before, and is not there again yet
        if loading and not node_lost:
            handle.failed_loads += 1
            if handle.failed_loads >= MAX_FAILED_LOADS:
                raise ClusterError(f"a worker died {MAX_FAILED_LOADS} times while loading its data: {error}")
        self.lost += 1
        self._set_ready(handle, False)
        handle.node = None if node_lost else handle.node
        return WorkerLost(worker, node_lost)
