"""Contestants made of the plain loops: one process, or one per core at once."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np
import torch

from benchmarks import image_loop, plain_loop
from benchmarks.measure import Measurement, PeerError, cores
from benchmarks.plain_loop import LoopResult
from benchmarks.processes import Place, run_in_processes
from benchmarks.workloads import Workload
from workers.campaign.campaign import Campaign
from workers.campaign.dataset_spec import Digits
from workers.campaign.model_spec import MLP
from workers.campaign.recipe import SGD, TriangularSchedule
from workers.datasets import load_dataset

Job = tuple[float, int]
"""Ratio and repetition."""


@dataclass(frozen=True)
class Setting:
    """How a plain loop runs. `processes` train at once with so many `threads` each (None: torch's own choice).

    `loader_workers` are the DataLoader's processes, where the loop has one.
    """

    name: str
    device: str
    processes: int
    threads: int | None
    loader_workers: int
    bfloat16: bool


def single(device: str, *, images: bool, loader_workers: int, bfloat16: bool) -> Setting:
    """The loop in one process, with torch's default threads."""
    name = f"DataLoader loop, {loader_workers} workers" if images else "plain loop"
    return Setting(name, device, 1, None, loader_workers, bfloat16)


def several(device: str, processes: int, *, bfloat16: bool) -> Setting:
    """The loop in several processes at once, which share the cores."""
    return Setting(f"{processes} plain loops", device, processes, max(1, cores() // processes), 0, bfloat16)


def measure_loop(workload: Workload, setting: Setting, repetitions: int, operations: float) -> Measurement:
    """Train so many models at each of the work's ratios. `operations` are those of one model. Raises PeerError."""
    prepare = _prepare_images if workload.images else _prepare_small
    jobs = workload.jobs(repetitions)
    try:
        timed = run_in_processes(setting.processes, setting.threads, prepare, (workload.campaign, setting), jobs)
    except (RuntimeError, OSError, MemoryError) as error:  # a dead process, no memory on the GPU
        raise PeerError(f"{type(error).__name__}: {str(error).splitlines()[0]}") from error
    accuracies = [result.held_out if workload.accuracy == "held out" else result.test for result in timed.results]
    return Measurement(
        work=workload.name,
        contestant=setting.name,
        models=len(jobs),
        seconds=timed.seconds,
        startup_seconds=timed.startup_seconds,
        accuracy=float(np.mean([accuracy for accuracy in accuracies if accuracy is not None])),
        accuracy_of=workload.accuracy,
        operations=operations,
        precision=_precision(workload, setting),
        details={"processes": setting.processes, "threads": setting.threads},
    )


def _precision(workload: Workload, setting: Setting) -> str:
    if setting.bfloat16:
        return "bfloat16"
    # PyTorch's defaults: convolutions on GPUs may round their inputs to TF32, matrix products may not.
    return "tf32" if workload.images and setting.device == "cuda" else "float32"


def _device(place: Place, setting: Setting) -> str:
    return f"cuda:{place.index % torch.cuda.device_count()}" if setting.device == "cuda" else setting.device


def _prepare_small(place: Place, campaign: Campaign, setting: Setting) -> Callable[[Job], LoopResult]:
    """Load the data and train a moment, so that nothing happens for the first time when the clock runs."""
    data = load_tensors(campaign, _device(place, setting))
    recipe = loop_recipe(campaign)
    few = min(1.0, 2 * recipe.batch_size / len(data.train_images))
    plain_loop.train_model(data, recipe, few, seed=0, bfloat16=setting.bfloat16)
    return partial(_train_small, data, recipe, setting.bfloat16)


def _train_small(data: plain_loop.LoopData, recipe: plain_loop.LoopRecipe, bfloat16: bool, job: Job) -> LoopResult:
    ratio, repetition = job
    return plain_loop.train_model(data, recipe, ratio, _seed(ratio, repetition), bfloat16=bfloat16)


def _prepare_images(place: Place, campaign: Campaign, setting: Setting) -> Callable[[Job], LoopResult]:
    dataset = load_dataset(campaign.dataset)
    train, test = (
        np.ascontiguousarray(images.transpose(0, 2, 3, 1)) for images in (dataset.train_images, dataset.test_images)
    )
    arrays = image_loop.ImageArrays(train, dataset.train_labels, test, dataset.test_labels)
    execution = image_loop.Execution(_device(place, setting), setting.loader_workers, setting.bfloat16)
    if setting.device == "cuda":
        torch.zeros(1, device=execution.device)
    return partial(_train_images, arrays, image_recipe(campaign), execution)


def _train_images(
    arrays: image_loop.ImageArrays, recipe: image_loop.ImageRecipe, execution: image_loop.Execution, job: Job
) -> LoopResult:
    ratio, repetition = job
    return image_loop.train_model(arrays, recipe, ratio, _seed(ratio, repetition), execution)


def _seed(ratio: float, repetition: int) -> int:
    return repetition * 1_000_000 + round(ratio * 1000)


def load_tensors(campaign: Campaign, device: str) -> plain_loop.LoopData:
    """A campaign's data set as the plain loop holds it, on a torch device."""
    dataset = load_dataset(campaign.dataset)
    train, test = (
        torch.tensor(np.asarray(images), dtype=torch.float32, device=device) / dataset.white
        for images in (dataset.train_images, dataset.test_images)
    )
    train_labels, test_labels = (
        torch.tensor(np.asarray(labels), device=device) for labels in (dataset.train_labels, dataset.test_labels)
    )
    return plain_loop.LoopData(train, train_labels, test, test_labels)


def loop_recipe(campaign: Campaign) -> plain_loop.LoopRecipe:
    """A campaign's recipe for small networks, as the plain loop spells it."""
    recipe, optimizer = campaign.recipe, cast(SGD, campaign.recipe.optimizer)
    return plain_loop.LoopRecipe(
        hidden=cast(MLP, campaign.model).hidden,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        learning_rate=optimizer.learning_rate,
        momentum=optimizer.momentum,
        jax_initialization=not isinstance(campaign.dataset, Digits),
    )


def image_recipe(campaign: Campaign) -> image_loop.ImageRecipe:
    """A campaign's recipe for CIFAR-10, as the DataLoader loop spells it."""
    recipe, optimizer = campaign.recipe, cast(SGD, campaign.recipe.optimizer)
    schedule = recipe.schedule
    return image_loop.ImageRecipe(
        network="resnet9" if campaign.model.name == "resnet9" else "resnet18",
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        learning_rate=optimizer.learning_rate,
        momentum=optimizer.momentum,
        weight_decay=optimizer.weight_decay,
        schedule="triangular" if isinstance(schedule, TriangularSchedule) else "cosine",
        peak_epoch=schedule.peak_epoch if isinstance(schedule, TriangularSchedule) else 0.0,
        label_smoothing=recipe.label_smoothing,
        padding=recipe.augmentation.translate,
        cutout=recipe.augmentation.cutout,
        flip_at_evaluation=recipe.evaluation_flip,
    )
