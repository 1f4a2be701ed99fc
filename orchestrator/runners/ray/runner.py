"""Runs campaigns on a Ray cluster; nodes may join, leave and fail."""

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import ray
import torch

from orchestrator.runners.base import Job, Note, Outcome
from orchestrator.runners.ray.cluster import MachineProbe, search_path
from orchestrator.runners.ray.metrics import CampaignMetrics
from orchestrator.runners.ray.pool import Event, LoadFailed, Pool, ShardEnded, WorkerLost, WorkerReady
from orchestrator.runners.ray.preflight import ClusterError
from orchestrator.runners.ray.session import RaySession, ray_session, starts_cluster
from orchestrator.runners.run_options import RunOptions
from orchestrator.runners.scheduler import Scheduler
from workers.campaign.campaign import Campaign
from workers.campaign.keys import Shard
from workers.campaign.plural import count_text
from workers.common.usable_cores import usable_cores
from workers.training import Precision
from workers.training.hardware import Machine, detect_machine
from workers.training.stack_calibration import calibrate
from workers.training.stack_choice import StackChoice

_REPORT_SECONDS = 0.5


class RayRunner:
    """Runs on the cluster that the options name, on nodes as they join and leave.

    Connects, or starts Ray, when it is first needed, and stays connected until `close`: to look at a GPU, to calibrate,
    and for every call of `run`.
    """

    def __init__(self, options: RunOptions | None = None) -> None:
        """`options`: see `RunOptions`; by default a worker for each slot of a cluster of this machine."""
        self.options = options or RunOptions(runner="ray")
        self._connection = ExitStack()
        self._session: RaySession | None = None
        self._probe: Any = None

    def machine(self) -> Machine:
        """See `Runner.machine`.

        CPU workers are taken to be like this machine, a cluster's but for their memory; a GPU is looked at where it is.
        """
        is_own = starts_cluster(self.options)
        on_cpus = self.options.device == "cpu" or self.options.gpus_per_worker == 0
        actor = None if on_cpus or (is_own and not torch.cuda.is_available()) else self._on_a_gpu()
        if actor is not None:
            machine: Machine = ray.get(actor.detect_machine.remote())
            return machine
        alike = detect_machine(torch.device("cpu"))
        return alike if is_own else replace(alike, memory=0)

    def fastest_stack(self, campaign: Campaign, sizes: Sequence[int], precision: Precision) -> StackChoice:
        """See `Runner.fastest_stack`."""
        actor = self._on_a_gpu()
        if actor is None:
            return calibrate(campaign, sizes, precision, torch.device("cpu"))
        fastest: StackChoice = ray.get(actor.calibrate.remote(campaign, sizes, precision))
        return fastest

    def run(self, job: Job, shards: Sequence[Shard]) -> Generator[Outcome, None, None]:
        """See `Runner.run`. Raises ClusterError."""
        session = self._connected()
        self._end_probe()
        session.check_slots()
        yield from _notes(session, self.options.device)
        device = self.options.device or ("cuda" if session.gpus else "cpu")
        pool = Pool(job, session.gpus, device, self.options.workers)
        scheduler, metrics = Scheduler(shards), CampaignMetrics(job.store_uri)
        try:
            for outcome in drive(pool, scheduler):
                metrics.observe(outcome)
                metrics.shards(pending=scheduler.unfinished - scheduler.running, running=scheduler.running)
                yield outcome
        finally:
            pool.close()

    def close(self) -> None:
        """Disconnect; a cluster that was started here ends."""
        self._end_probe()
        self._session = None
        self._connection.close()

    def _connected(self) -> RaySession:
        if self._session is None:
            self._session = self._connection.enter_context(ray_session(self.options))
        return self._session

    def _on_a_gpu(self) -> Any:
        """An actor like a worker's, for looking at its GPU; None where workers have none."""
        session = self._connected()
        if session.gpus and self._probe is None:
            session.check_slots()
            self._probe = ray.remote(num_cpus=0, num_gpus=session.gpus)(MachineProbe).remote(search_path())
        return self._probe

    def _end_probe(self) -> None:
        """Give its GPU back."""
        if self._probe is not None:
            ray.kill(self._probe)
            self._probe = None


def _notes(session: RaySession, device: str | None) -> Iterator[Note]:
    """What was requested and cannot be had, or is not used."""
    gpus, workers = session.gpus, session.options.workers
    if gpus and device == "cpu":
        yield Note(f"each worker holds {gpus:g} GPUs, and trains on the CPU (device cpu)")
    share_cores = session.is_own and not gpus
    slots = usable_cores() if share_cores else session.slots
    if workers and workers > slots:
        which = (
            f"{count_text(slots, 'core')}, which they share"
            if share_cores
            else f"{count_text(slots, 'slot')}: the others wait"
        )
        yield Note(f"requested: {count_text(workers, 'worker')}; there are {which}")


def drive(pool: Pool, scheduler: Scheduler) -> Iterator[Outcome]:
    """Keep every ready worker busy until each shard is committed or given up. Raises StoreError, ClusterError.

    Workers that come and go are reported together, since a report lists all nodes: at most twice a second, and at the
    end.
    """
    kinds: set[str] = set()
    changed, reported = False, float("-inf")
    while scheduler.unfinished:
        for worker in pool.adapt(requested=scheduler.unfinished):
            scheduler.drain(worker)
            if scheduler.is_idle(worker):
                scheduler.on_worker_lost(worker, node_lost=True)
                pool.kill_worker(worker)
                changed = True
        for worker, shard in scheduler.assign():
            pool.send(worker, shard)
        for event in pool.wait():
            changed |= isinstance(event, WorkerReady | WorkerLost)
            yield from _handle_event(event, pool, scheduler, kinds)
        if changed and (time.monotonic() - reported >= _REPORT_SECONDS or not scheduler.unfinished):
            yield pool.workers_changed()
            changed, reported = False, time.monotonic()


def _handle_event(event: Event, pool: Pool, scheduler: Scheduler, kinds: set[str]) -> Iterator[Outcome]:
    """Update the shards after an event; yields what the campaign reports."""
    match event:
        case ShardEnded(worker, shard, result):
            outcome = scheduler.on_shard_end(worker, shard, result)
            if outcome is not None:
                yield outcome
        case WorkerReady(worker, kind):
            scheduler.add_worker(worker, kind)
            if kinds and kind not in kinds:
                others = ", ".join(sorted(kinds))
                yield Note(f"workers train on {kind} and on {others}: runs may differ in the last bit between them")
            kinds.add(kind)
        case WorkerLost(worker, node_lost):
            failed_shard = scheduler.on_worker_lost(worker, node_lost)
            if failed_shard is not None:
                yield failed_shard
        case LoadFailed(worker, problem):
            fresh = pool.exclude_node(worker)
            if not pool.size:
                error = ClusterError(f"a worker cannot load the campaign: {problem.text}")
                error.exit_code = problem.exit_code
                raise error
            if fresh:
                last = problem.text.strip().splitlines()[-1]
                yield Note(f"a node is left out, its worker cannot load the campaign: {last}")
