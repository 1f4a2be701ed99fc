"""Runs campaigns on a Ray cluster; nodes may join, leave and fail."""

import os
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import ray
import torch

from orchestrator.runners.base import Job, Note, Outcome
from orchestrator.runners.ray.cluster import MachineProbe, connected, search_path
from orchestrator.runners.ray.metrics import CampaignMetrics
from orchestrator.runners.ray.pool import Ended, Event, Loaded, Lost, NotLoaded, Pool, cluster_nodes
from orchestrator.runners.ray.preflight import ClusterError
from orchestrator.runners.scheduler import Dispatch
from workers.campaign.campaign import Campaign
from workers.campaign.keys import Shard
from workers.campaign.plural import count_text
from workers.errors import CampaignError
from workers.training import Precision
from workers.training.hardware import Machine, detect_machine
from workers.training.stack_calibration import calibrate

_REPORT_SECONDS = 0.5


@dataclass(frozen=True)
class RayRunner:
    """Runs on the cluster at `address` (`auto`: the one this machine is in); without one, on a cluster of its own.

    `gpus_per_worker` is a fraction or a whole number; by default 1 where the cluster has GPUs, else 0. `workers` is how
    many there may be, and what an autoscaler is requested; by default every place of the nodes that are there is used.
    `device` `cpu` trains on CPUs also where workers hold GPUs. `working_dir` is sent to the nodes for the campaign's
    own code.
    """

    address: str | None = None
    gpus_per_worker: float | None = None
    workers: int | None = None
    device: str | None = None
    working_dir: str | None = None

    def __post_init__(self) -> None:
        gpus = self.gpus_per_worker or 0
        if gpus < 0 or (gpus > 1 and gpus != int(gpus)):
            raise CampaignError(f"gpus_per_worker: must be a fraction of 1 or a whole number, got {gpus:g}")
        if self.device not in (None, "cpu", "cuda"):
            raise CampaignError(f"device: must be cpu or cuda, got {self.device!r}")
        if self.device == "cuda" and self.gpus_per_worker == 0:
            raise CampaignError("gpus_per_worker: must be above 0 to train on device cuda, got 0")

    def machine(self) -> Machine:
        """See `Runner.machine`. CPU workers are taken to be like this machine; a GPU is looked at where it is."""
        if self.device == "cpu" or self.gpus_per_worker == 0 or (self._own() and not torch.cuda.is_available()):
            return detect_machine(torch.device("cpu"))
        with self._on_a_gpu() as actor:
            machine: Machine = (
                detect_machine(torch.device("cpu")) if actor is None else ray.get(actor.detect_machine.remote())
            )
            return machine

    def fastest_stack(self, campaign: Campaign, sizes: Sequence[int], precision: Precision) -> int:
        """See `Runner.fastest_stack`."""
        with self._on_a_gpu() as actor:
            if actor is None:
                return calibrate(campaign, sizes, precision, torch.device("cpu"))
            fastest: int = ray.get(actor.calibrate.remote(campaign, sizes, precision))
            return fastest

    def run(self, job: Job, shards: Sequence[Shard]) -> Generator[Outcome, None, None]:
        """See `Runner.run`. Raises ClusterError."""
        is_own = self._own()
        with self._connected():
            gpus = self._gpus()
            self._check_places(gpus)
            yield from self._notes(gpus, is_own)
            device = self.device or ("cuda" if gpus else "cpu")
            pool, dispatch, metrics = (
                Pool(job, gpus, device, self.workers),
                Dispatch(shards),
                CampaignMetrics(job.store_uri),
            )
            try:
                for outcome in drive(pool, dispatch):
                    metrics.observe(outcome)
                    metrics.shards(pending=dispatch.left - dispatch.running, running=dispatch.running)
                    yield outcome
            finally:
                pool.close()

    @contextmanager
    def _on_a_gpu(self) -> Iterator[Any]:
        """An actor like a worker's, for looking at its GPU; None where workers have none."""
        with self._connected():
            gpus = self._gpus()
            if not gpus:
                yield None
                return
            self._check_places(gpus)
            actor = ray.remote(num_cpus=0, num_gpus=gpus)(MachineProbe).remote(search_path())
            try:
                yield actor
            finally:
                ray.kill(actor)

    def _connected(self) -> AbstractContextManager[None]:
        """See `connected`."""
        return connected(self.address, self.workers, self.working_dir)

    def _own(self) -> bool:
        """Is the cluster one that is started here."""
        return self.address is None and "RAY_ADDRESS" not in os.environ and not ray.is_initialized()

    def _gpus(self) -> float:
        """GPUs of each worker."""
        if self.gpus_per_worker is not None:
            return self.gpus_per_worker
        return 1.0 if ray.cluster_resources().get("GPU", 0) >= 1 else 0.0

    def _notes(self, gpus: float, on_this_machine: bool) -> Iterator[Note]:
        """What was requested and cannot be had, or is not used."""
        if gpus and self.device == "cpu":
            yield Note(f"each worker holds {gpus:g} GPUs, and trains on the CPU (device cpu)")
        cores = os.cpu_count() or 1
        places = cores if on_this_machine and not gpus else sum(node.places(gpus) for node in cluster_nodes())
        if self.workers and self.workers > places:
            which = (
                f"{count_text(places, 'core')}, which they share"
                if on_this_machine and not gpus
                else f"{count_text(places, 'place')}: the others wait"
            )
            yield Note(f"requested: {count_text(self.workers, 'worker')}; there are {which}")

    def _check_places(self, gpus: float) -> None:
        """Raise ClusterError where no worker fits, and nothing says that nodes will join."""
        if any(node.places(gpus) for node in cluster_nodes()) or (self.workers and self.address):
            return
        requested, has = f"{gpus:g} GPUs" if gpus else "1 CPU", ray.cluster_resources()
        raise ClusterError(
            f"the Ray cluster has no place for a worker with {requested}: "
            f"it has {has.get('CPU', 0):g} CPUs and {has.get('GPU', 0):g} GPUs "
            "(--workers N waits for nodes that join, and asks an autoscaler for them)"
        )


def drive(pool: Pool, dispatch: Dispatch) -> Iterator[Outcome]:
    """Keep every ready worker busy until each shard is committed or given up. Raises StoreError, ClusterError.

    Workers that come and go are reported together, since a report lists all nodes: at most twice a second, and at the
    end.
    """
    kinds: set[str] = set()
    changed, reported = False, float("-inf")
    while dispatch.left:
        for worker in pool.adapt(requested=dispatch.left):
            dispatch.retire(worker)
            if dispatch.idle(worker):
                dispatch.lose(worker, node_lost=True)
                pool.dismiss(worker)
                changed = True
        for worker, shard in dispatch.assign():
            pool.send(worker, shard)
        for event in pool.wait():
            changed |= isinstance(event, Loaded | Lost)
            yield from _settle(event, pool, dispatch, kinds)
        if changed and (time.monotonic() - reported >= _REPORT_SECONDS or not dispatch.left):
            yield pool.changed()
            changed, reported = False, time.monotonic()


def _settle(event: Event, pool: Pool, dispatch: Dispatch, kinds: set[str]) -> Iterator[Outcome]:
    """What an event means for the shards, and what the campaign is told of it."""
    match event:
        case Ended(worker, shard, result):
            outcome = dispatch.ended(worker, shard, result)
            if outcome is not None:
                yield outcome
        case Loaded(worker, kind):
            dispatch.join(worker, kind)
            if kinds and kind not in kinds:
                others = ", ".join(sorted(kinds))
                yield Note(f"workers train on {kind} and on {others}: runs may differ in the last bit between them")
            kinds.add(kind)
        case Lost(worker, node_lost):
            given_up = dispatch.lose(worker, node_lost)
            if given_up is not None:
                yield given_up
        case NotLoaded(worker, problem):
            fresh = pool.bar(worker)
            if not pool.size:
                error = ClusterError(f"a worker cannot load the campaign: {problem.text}")
                error.exit_code = problem.exit_code
                raise error
            if fresh:
                last = problem.text.strip().splitlines()[-1]
                yield Note(f"a node is left out, its worker cannot load the campaign: {last}")
