"""Selects the contestants of a workload on this machine, with the reason for each one left out."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import airbench, jax_script
from benchmarks.flops import model_operations
from benchmarks.loops import measure_loop, several, single
from benchmarks.measure import OURS, Contestant, Measurement, cores
from benchmarks.ours import all_of_this_machine, measure_ours
from benchmarks.works import Work
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


def line_up(work: Work, options: Options) -> tuple[list[Contestant], list[str]]:
    """The contestants of a work, ours first, and a note for each that is missing. Raises DataError."""
    dataset = load_dataset(work.campaign.dataset)
    operations = model_operations(work.campaign, dataset)
    found = [Contestant(work.name, OURS, partial(_ours, work, options, operations))]
    notes: list[str] = []
    if work.name == "cifar10":
        _add(found, notes, _airbench(work, options, dataset))
    else:
        found += _loops(work, options, operations)
    if work.name == "mnist":
        _add(found, notes, _jax(work, options, dataset))
    return found, notes


def _ours(work: Work, options: Options, operations: float) -> Measurement:
    alone = RunOptions(device=options.device)
    how = alone if options.in_process else all_of_this_machine(options.device, options.gpus_per_worker)
    return measure_ours(work, how, operations)


def _add(found: list[Contestant], notes: list[str], peer: Contestant | str) -> None:
    if isinstance(peer, str):
        notes.append(peer)
    else:
        found.append(peer)


def _loops(work: Work, options: Options, operations: float) -> list[Contestant]:
    device, bfloat16 = options.device, options.peer_bfloat16
    workers = options.loader_workers or cores()
    alone = single(device, images=work.images, loader_workers=workers, bfloat16=bfloat16)
    settings = [(alone, work.peer_repetitions)]
    if not work.images:
        # As many models as ours: with fewer, some processes would be idle while the last models are trained.
        count = options.loop_processes or cores()
        settings.append((several(device, count, bfloat16=bfloat16), work.campaign.subsets.repetitions))
    return [
        Contestant(work.name, setting.name, partial(measure_loop, work, setting, repetitions, operations))
        for setting, repetitions in settings
    ]


def _jax(work: Work, options: Options, dataset: Dataset) -> Contestant | str:
    absent = f"{work.name}: {jax_script.NAME}: not measured: "
    if options.jax_script is None or options.mnist_root is None:
        return absent + "needs --jax-script"
    if jax_script.lacks_jax(options.jax_python):
        return absent + f"{options.jax_python} has no jax; name one that has with --jax-python"
    operations = model_operations(work.campaign, dataset, evaluate_test=False)
    arguments = (work, options.jax_script, options.jax_python, options.mnist_root, options.device)
    measure = partial(jax_script.measure_jax, *arguments, work.peer_repetitions, operations)
    return Contestant(work.name, jax_script.NAME, measure)


def _airbench(work: Work, options: Options, dataset: Dataset) -> Contestant | str:
    absent = f"{work.name}: {airbench.NAME}: not measured: "
    if options.airbench is None:
        return absent + "needs --airbench"
    if options.device != "cuda":
        return absent + "needs a GPU"
    measure = partial(airbench.measure_airbench, work.name, options.airbench, dataset, options.airbench_models)
    return Contestant(work.name, airbench.NAME, measure)
