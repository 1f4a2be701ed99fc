"""Finds the stack size with the highest training throughput on a GPU."""

import time
from collections.abc import Callable, Sequence
from importlib.metadata import version

import numpy as np
import torch

from workers.campaign.campaign import Campaign
from workers.datasets import load_dataset
from workers.models import build_model
from workers.models.stacking import StackedModel
from workers.training.augmentation import DRAWS
from workers.training.calibration_cache import CalibrationRecord
from workers.training.cuda_graphs import with_cuda_graph
from workers.training.determinism import deterministic
from workers.training.device_data import DeviceData, load_on_device
from workers.training.dtype import DTYPES, Precision
from workers.training.engine import Engine
from workers.training.loop import device_name
from workers.training.optimizers import Update
from workers.training.out_of_memory import is_out_of_memory, release_memory
from workers.training.smaller_stacks import train_within_memory
from workers.training.stacked import StackedEngine
from workers.training.stage_masks import set_masks
from workers.training.training_step import Gradients, TrainingStep
from workers.user_code.boundary import user_code

_WARM_UP_STEPS = 5
_TIMED_STEPS = 5
_ROUNDS = 6
"""Of timed steps; the fastest counts, since other programs on the device only delay."""

_WORTHWHILE = 1.1
"""A larger stack must be faster by this, which is more than two measurements of one size differ by: a smaller one loses
less when it is interrupted, and fits more machines."""


def calibrate(campaign: Campaign, sizes: Sequence[int], precision: Precision, device: torch.device) -> int:
    """`fastest_stack` on the campaign's own data; measured once for a campaign and a kind of GPU. Raises DataError."""
    dataset = load_dataset(campaign.dataset)
    record = CalibrationRecord(
        {
            "campaign": campaign.identity(dataset.fingerprint),
            "device": device_name(device),
            "torch": version("torch"),
            "precision": precision,
            "sizes": sorted(sizes),
        }
    )
    chosen = record.read(sizes)
    if chosen is None:
        data = load_on_device(dataset, campaign, np.array(dataset.train_labels), device)
        chosen = fastest_stack(campaign, data, sizes, precision)
        record.write(chosen)
    return chosen


def fastest_stack(campaign: Campaign, data: DeviceData, sizes: Sequence[int], precision: Precision) -> int:
    """The size, of `sizes`, that trains most models per second on the data's device; what does not fit is left out.

    Takes seconds. Where none fits, the smallest is halved until it does. Raises ModelError where one model does not.
    """
    best, best_rate = 0, 0.0
    for size in sorted(sizes):
        try:
            rate = size / _seconds_per_step(campaign, data, size, precision)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            break
        if rate > best_rate * _WORTHWHILE:
            best, best_rate = size, rate
    return best or _halved_until_it_fits(campaign, data, min(sizes), precision)


def _halved_until_it_fits(campaign: Campaign, data: DeviceData, size: int, precision: Precision) -> int:
    def fitting_size(engine: Engine) -> int:
        _seconds_per_step(campaign, data, engine.size, precision)
        return engine.size

    release_memory(data.device)
    return train_within_memory(StackedEngine(size, precision), campaign, data.device, fitting_size)


def _seconds_per_step(campaign: Campaign, data: DeviceData, size: int, precision: Precision) -> float:
    with user_code("model"), deterministic(data.device, precision):
        models = [build_model(campaign.model, data.input_shape, data.num_classes) for _ in range(size)]
        for model in models:
            set_masks(model, campaign, len(data.train_labels), data.device)
        stack = StackedModel(models, DTYPES[precision], data.device)
        stack.draw_from([torch.Generator(data.device) for _ in range(size)])
        stack.train(True)
        update = Update(stack.weights, campaign.recipe.optimizer, stack.compute)
        step = TrainingStep(Gradients(campaign, data, stack, update))
        take_step = with_cuda_graph(step.device_only_step, data.device) if not stack.draws else step.device_only_step
        shape = (size, campaign.recipe.batch_size)
        arguments = [torch.randint(len(data.train_images), shape, device=data.device)]
        if campaign.recipe.augmentation.changes_images:
            arguments.append(torch.zeros((DRAWS, *shape), dtype=torch.int64, device=data.device))
        if not data.train_images.on_device:
            arguments.insert(0, data.train_images.select(arguments[0].flatten()))
        for _ in range(_WARM_UP_STEPS):
            take_step(*arguments)[0].cpu()
        return min(_timed(lambda: take_step(*arguments)[0]) for _ in range(_ROUNDS))


def _timed(take_step: Callable[[], torch.Tensor]) -> float:
    """Seconds of a step, the mean of several."""
    started = time.perf_counter()
    for _ in range(_TIMED_STEPS):
        losses = take_step()
    losses.cpu()  # waits for the device
    return (time.perf_counter() - started) / _TIMED_STEPS
