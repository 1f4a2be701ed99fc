"""Longtail as a contestant: the workload's campaign, run by `orchestrator.run_campaign` into a temporary store."""

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import analysis
from benchmarks.measure import OURS, Measurement
from benchmarks.workloads import Workload
from orchestrator import RunOptions, run_campaign
from orchestrator.campaigns.campaign_report import CampaignProgress
from orchestrator.runners.run_options import Device
from workers.errors import LongtailError


class NotTimedError(LongtailError, RuntimeError):
    """A campaign that cannot be timed: shards failed, or it was over before all workers were ready."""


@dataclass(frozen=True)
class Moment:
    """Seconds since the call of run_campaign; workers ready and runs committed then."""

    seconds: float
    workers: int
    committed: int


def measure_longtail(workload: Workload, options: RunOptions, operations: float) -> Measurement:
    """Train the whole campaign once. `operations` are those of one model.

    `whole_seconds` of the details: from the call to the C-scores, where examples are held out.
    Raises NotTimedError, and what run_campaign raises.
    """
    moments: list[Moment] = []
    started = time.perf_counter()

    def watch(progress: CampaignProgress) -> None:
        moments.append(Moment(time.perf_counter() - started, progress.workers, progress.trained))

    with tempfile.TemporaryDirectory(prefix="longtail-speed-") as folder:
        report = run_campaign(workload.campaign, Path(folder) / "store", options, on_progress=watch)
        if not report.complete:
            raise NotTimedError(
                f"{workload.name}: {report.progress.failed} runs failed: {report.failures[0].error.message}"
            )
        view = analysis.open_store(Path(folder) / "store")
        if workload.accuracy == "held out":
            view.cscore()
        whole = time.perf_counter() - started
        runs, header = view.runs(), view.store.header.model_dump(mode="json")
    ready, end = moments_of_full_load(moments, workload.name)
    column = "heldout_accuracy" if workload.accuracy == "held out" else "test_accuracy"
    return Measurement(
        work=workload.name,
        contestant=OURS,
        models=end.committed - ready.committed,
        seconds=end.seconds - ready.seconds,
        startup_seconds=ready.seconds,
        accuracy=float(runs[column].mean()),
        accuracy_of=workload.accuracy,
        operations=operations,
        # The store knows what a recipe that leaves it open was trained in.
        precision=header.get("precision", "float32"),
        details={
            "runner": options.runner,
            "workers": ready.workers,
            "first_worker_ready_seconds": next(moment.seconds for moment in moments if moment.workers),
            "runs_before_all_ready": ready.committed,
            "whole_seconds": whole,
            "shard_size": header["shard_size"],
            "stack_size": header.get("stack_size", 1),
            "diverged": report.progress.diverged,
            "moments": [asdict(moment) for moment in moments],
        },
    )


def moments_of_full_load(moments: Sequence[Moment], workload: str) -> tuple[Moment, Moment]:
    """The moment at which all workers were ready, and the last commit. Raises NotTimedError where they are the same."""
    most = max(moment.workers for moment in moments)
    ready = next(moment for moment in moments if moment.workers == most)
    end = next(moment for moment in moments if moment.committed == moments[-1].committed)
    if most == 0 or end.committed <= ready.committed:
        raise NotTimedError(f"{workload}: was over before all {most} workers were ready; give more --repetitions")
    return ready, end


def whole_machine_options(device: Device, gpus_per_worker: float | None) -> RunOptions:
    """A worker on each core or GPU, on Ray; without Ray one in this process."""
    if find_spec("ray") is None:
        return RunOptions(runner="local", device=device)
    # This machine is measured, whatever cluster the user's shell points to.
    os.environ.pop("RAY_ADDRESS", None)
    return RunOptions(runner="ray", gpus_per_worker=gpus_per_worker if device == "cuda" else 0)
