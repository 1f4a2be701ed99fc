"""Selects the contestants of a workload on this machine, with the reason for each one left out."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import airbench, jax_script
from benchmarks.flops import model_operations
from benchmarks.longtail_measurement import measure_longtail, whole_machine_options
from benchmarks.loops import measure_loop, several, single
from benchmarks.measure import OURS, Contestant, Measurement, cores
from benchmarks.workloads import Workload
from orchestrator import RunOptions
from orchestrator.runners.run_options import Device
from workers.datasets import Dataset, load_dataset


@dataclass(frozen=True)
class Options:
    """How contestants run; None: a peer that was not given, or a number that is chosen here."""

    device: Device
    gpus_per_worker: float | None
    peer_bfloat16: bool
    loop_processes: int | None
    loader_workers: int | None
    mnist_root: Path | None
    jax_script: Path | None
    jax_python: str
    airbench: Path | None
    airbench_models: int
    in_process: bool = False
    """Ours in this process, without Ray."""


def select_contestants(workload: Workload, options: Options) -> tuple[list[Contestant], list[str]]:
    """The contestants of a work, ours first, and a note for each that is missing. Raises DataError."""
    dataset = load_dataset(workload.campaign.dataset)
    operations = model_operations(workload.campaign, dataset)
    contestants = [Contestant(workload.name, OURS, partial(_measure_longtail, workload, options, operations))]
    notes: list[str] = []
    if workload.name == "cifar10":
        _add(contestants, notes, _airbench(workload, options, dataset))
    else:
        contestants += _loops(workload, options, operations)
    if workload.name == "mnist":
        _add(contestants, notes, _jax(workload, options, dataset))
    return contestants, notes


def _measure_longtail(workload: Workload, options: Options, operations: float) -> Measurement:
    local = RunOptions(device=options.device)
    run_options = local if options.in_process else whole_machine_options(options.device, options.gpus_per_worker)
    return measure_longtail(workload, run_options, operations)


def _add(contestants: list[Contestant], notes: list[str], peer: Contestant | str) -> None:
    if isinstance(peer, str):
        notes.append(peer)
    else:
        contestants.append(peer)


def _loops(workload: Workload, options: Options, operations: float) -> list[Contestant]:
    device, bfloat16 = options.device, options.peer_bfloat16
    workers = options.loader_workers or cores()
    one_process = single(device, images=workload.images, loader_workers=workers, bfloat16=bfloat16)
    settings = [(one_process, workload.peer_repetitions)]
    if not workload.images:
        # As many models as ours: with fewer, some processes would be idle while the last models are trained.
        count = options.loop_processes or cores()
        settings.append((several(device, count, bfloat16=bfloat16), workload.campaign.subsets.repetitions))
    return [
        Contestant(workload.name, setting.name, partial(measure_loop, workload, setting, repetitions, operations))
        for setting, repetitions in settings
    ]


def _jax(workload: Workload, options: Options, dataset: Dataset) -> Contestant | str:
    absent = f"{workload.name}: {jax_script.NAME}: not measured: "
    if options.jax_script is None or options.mnist_root is None:
        return absent + "needs --jax-script"
    if jax_script.lacks_jax(options.jax_python):
        return absent + f"{options.jax_python} has no jax; name one that has with --jax-python"
    operations = model_operations(workload.campaign, dataset, evaluate_test=False)
    arguments = (workload, options.jax_script, options.jax_python, options.mnist_root, options.device)
    measure = partial(jax_script.measure_jax, *arguments, workload.peer_repetitions, operations)
    return Contestant(workload.name, jax_script.NAME, measure)


def _airbench(workload: Workload, options: Options, dataset: Dataset) -> Contestant | str:
    absent = f"{workload.name}: {airbench.NAME}: not measured: "
    if options.airbench is None:
        return absent + "needs --airbench"
    if options.device != "cuda":
        return absent + "needs a GPU"
    measure = partial(airbench.measure_airbench, workload.name, options.airbench, dataset, options.airbench_models)
    return Contestant(workload.name, airbench.NAME, measure)
