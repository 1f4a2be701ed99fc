"""Trains shards on a Ray cluster: one actor per slot, two shards in flight each, lost workers' shards sent again.

Actors come back by themselves after a crash (`max_restarts`), but their shards are sent
again from here (`max_task_retries=0`): the driver alone knows what is committed. A `RayActorError` only means that a
shard's outcome is unknown; training it twice is harmless, since the store takes the first of equal files.
"""

import os
import traceback
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
import torch
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, WorkerCrashedError

from orchestrator.ray_cluster import ClusterError, Surveyor, connect, extend_path, search_path
from orchestrator.runner import Attempts, GivenUp, Job, Outcome, WorkersChanged
from workers.calibration import calibrate
from workers.campaign import Campaign
from workers.errors import LongtailError, StoreError
from workers.machine import Machine, survey
from workers.runs import Shard
from workers.shard import ShardError, ShardSummary, Worker
from workers.training import Precision

MAX_LOST = 5
"""A shard whose worker died so often takes its workers down itself (out of memory, a crash in native code)."""

IN_FLIGHT = 2
_LOST = (RayActorError, NodeDiedError, OutOfMemoryError, WorkerCrashedError)
_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class RayRunner:
    """Runs on the cluster at `address` (`auto`: the one this machine is in); without one, on a cluster of its own.

    `gpus_per_worker` may be a fraction; by default 1 where the cluster has GPUs, else 0. `workers` caps how many there
    are; by default every slot is used. `working_dir` is sent to the cluster's nodes for the campaign's own code.
    """

    address: str | None = None
    gpus_per_worker: float | None = None
    workers: int | None = None
    working_dir: str | None = None

    def machine(self) -> Machine:
        """See `Runner.machine`. CPU workers are taken to be like this machine; a GPU is looked at where it is."""
        own = self.address is None and "RAY_ADDRESS" not in os.environ and not ray.is_initialized()
        if self.gpus_per_worker == 0 or (own and not torch.cuda.is_available()):
            return survey(torch.device("cpu"))
        with self._on_a_gpu() as actor:
            machine: Machine = survey(torch.device("cpu")) if actor is None else ray.get(actor.survey.remote())
            return machine

    def fastest_stack(self, campaign: Campaign, sizes: Sequence[int], precision: Precision) -> int:
        """See `Runner.fastest_stack`."""
        with self._on_a_gpu() as actor:
            if actor is None:
                return calibrate(campaign, sizes, precision, torch.device("cpu"))
            fastest: int = ray.get(actor.calibrate.remote(campaign, sizes, precision))
            return fastest

    @contextmanager
    def _on_a_gpu(self) -> Iterator[Any]:
        """An actor like a worker's, for looking at its GPU; None where workers have none."""
        with self._connected():
            gpus = self._gpus()
            if not gpus:
                yield None
                return
            actor = ray.remote(num_cpus=0, num_gpus=gpus)(Surveyor).remote(search_path())
            try:
                yield actor
            finally:
                ray.kill(actor)

    def run(self, job: Job, shards: Sequence[Shard]) -> Generator[Outcome, None, None]:
        """See `Runner.run`. Raises ClusterError."""
        with self._connected():
            pool = _Pool(job, *self._slots(len(shards)))
            try:
                yield from _drive(pool, shards)
            finally:
                pool.close()

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """On the caller's cluster, where it is connected to one; else connected for as long as this lasts."""
        if ray.is_initialized():
            yield
            return
        connect(self.address, self.workers, self.working_dir)
        try:
            yield
        finally:
            ray.shutdown()

    def _gpus(self) -> float:
        """GPUs of each worker."""
        if self.gpus_per_worker is not None:
            return self.gpus_per_worker
        return 1.0 if ray.cluster_resources().get("GPU", 0) >= 1 else 0.0

    def _slots(self, shards: int) -> tuple[int, float]:
        """(workers, GPUs of each)."""
        resources, gpus = ray.cluster_resources(), self._gpus()
        slots = int(resources.get("GPU", 0) / gpus + 1e-9) if gpus else int(resources.get("CPU", 0))
        if slots < 1:
            wanted = f"{gpus} GPUs" if gpus else "1 CPU"
            raise ClusterError(f"the Ray cluster has no place for a worker with {wanted}: it has {resources}")
        return min(slots, shards, self.workers or slots), gpus


class _Actor:
    """A worker in a process of its own. Loads its data at the first call, so that what goes wrong there is told."""

    def __init__(self, job: Job, device: str, path: Sequence[str]) -> None:
        extend_path(path)
        self._job = job
        self._device = device
        self._worker: Worker | None = None

    def load(self) -> str | None:
        """Get ready for shards. None, or why that is impossible: LongtailError's message, else a traceback."""
        try:
            self._loaded()
        except LongtailError as error:
            return str(error)
        except Exception:  # noqa: BLE001 - the boundary at which the campaign's own code is reported
            return traceback.format_exc()
        return None

    def attempt(self, shard: Shard) -> ShardSummary | ShardError:
        """See `Worker.attempt`."""
        return self._loaded().attempt(shard)

    def _loaded(self) -> Worker:
        if self._worker is None:
            self._worker = Worker(self._job.campaign, self._job.store_uri, self._device, self._job.checkpoint_minutes)
        return self._worker


class _Slot:
    """An actor, and the shards it was sent, oldest first: it works on the first."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor
        self.sent: deque[Shard] = deque()
        self.ready = False
        self.failed_loads = 0


class _Pool:
    """The actors and every call that is open. A call is (slot, shard), or (slot, None) for loading the data."""

    def __init__(self, job: Job, size: int, gpus: float) -> None:
        # As many calls at a time as are in flight: the worker writes one shard while it trains the next.
        limits = {"max_restarts": -1, "max_task_retries": 0, "max_concurrency": IN_FLIGHT}
        remote = ray.remote(num_cpus=0 if gpus else 1, num_gpus=gpus, **limits)(_Actor)
        self.slots = [_Slot(remote.remote(job, "cuda" if gpus else "cpu", search_path())) for _ in range(size)]
        self.calls: dict[Any, tuple[_Slot, Shard | None]] = {}
        self.losses: Counter[Shard] = Counter()
        self.lost = 0
        for slot in self.slots:
            self._load(slot)

    def feed(self, queue: deque[Shard]) -> None:
        """Send shards to ready workers: idle ones first; a second one in flight only while there is plenty."""
        for depth in range(1, IN_FLIGHT + 1):
            for slot in self.slots:
                plenty = depth == 1 or len(queue) > len(self.slots)
                if queue and plenty and slot.ready and len(slot.sent) < depth:
                    shard = queue.popleft()
                    slot.sent.append(shard)
                    self.calls[slot.actor.attempt.remote(shard)] = (slot, shard)

    def wait(self) -> tuple[_Slot, Shard | None, Any] | None:
        """The next call to end, with its result or the error that says that its worker was lost; None: none for now."""
        finished, _ = ray.wait(list(self.calls), num_returns=1, timeout=_POLL_SECONDS)
        if not finished:
            return None
        slot, shard = self.calls.pop(finished[0])
        try:
            result = ray.get(finished[0])
        except _LOST as error:
            result = error
        return slot, shard, result

    def loaded(self, slot: _Slot, result: Any) -> None:
        """A worker has its data, or cannot load them (ClusterError), or died over it and is tried again."""
        if isinstance(result, str):
            raise ClusterError(f"a worker cannot load the campaign: {result}")
        if isinstance(result, Exception):
            slot.failed_loads += 1
            if slot.failed_loads >= MAX_LOST:
                raise ClusterError(f"a worker died {MAX_LOST} times while loading its data: {result}")
            self.lost += 1
            self._load(slot)
            return
        slot.ready, slot.failed_loads = True, 0

    def lose(self, slot: _Slot, shard: Shard) -> None:
        """A worker died. All its calls fail, and Ray starts it anew; the first call to say so counts.

        The blame goes to the oldest shard it was sent, the one that it was working on.
        """
        if slot.ready:
            self.lost += 1
            self.losses[slot.sent[0]] += 1
            self._load(slot)
        slot.sent.remove(shard)

    def close(self) -> None:
        """End the workers, whatever they are doing."""
        for slot in self.slots:
            ray.kill(slot.actor)

    def changed(self) -> WorkersChanged:
        """The workers' present number."""
        return WorkersChanged(ready=sum(slot.ready for slot in self.slots), lost=self.lost)

    def _load(self, slot: _Slot) -> None:
        slot.ready = False
        self.calls[slot.actor.load.remote()] = (slot, None)


def _drive(pool: _Pool, shards: Sequence[Shard]) -> Iterator[Outcome]:
    """Keep every ready worker busy until each shard is committed or given up."""
    queue, attempts = deque(shards), Attempts()
    left = len(shards)
    while left:
        pool.feed(queue)
        ended = pool.wait()
        if ended is None:
            continue
        slot, shard, result = ended
        if shard is None:
            pool.loaded(slot, result)
            yield pool.changed()
            continue
        if isinstance(result, Exception):
            pool.lose(slot, shard)
            yield pool.changed()
            outcome = _died_too_often(shard, pool.losses[shard])
        else:
            slot.sent.remove(shard)
            outcome = _settle(result, attempts)
        if outcome is None:
            queue.appendleft(shard)
        else:
            left -= 1
            yield outcome


def _settle(result: ShardSummary | ShardError, attempts: Attempts) -> Outcome | None:
    """What is final about a shard's call; None: the shard is to be sent again."""
    if not isinstance(result, ShardError):
        return result
    if result.kind == "store":
        raise StoreError(result.message)
    return attempts.give_up(result)


def _died_too_often(shard: Shard, losses: int) -> Outcome | None:
    if losses < MAX_LOST:
        return None
    message = f"the worker's process died {losses} times while it trained this shard"
    return GivenUp(ShardError(shard, "user", message, message), losses)
