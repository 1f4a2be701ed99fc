"""Finds the stack size, and the program of a stack, with the highest training throughput on a GPU."""

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import torch

from workers.campaign.campaign import Campaign
from workers.campaign.lr_schedule import steps_per_epoch
from workers.datasets import load_dataset
from workers.store.stack_program import GROUPED, StackProgram
from workers.subsets.draw import subset_size
from workers.training.calibration_cache import CalibrationRecord
from workers.training.device_data import DeviceData, load_on_device
from workers.training.dtype import Precision
from workers.training.engine import Engine
from workers.training.loop import device_name
from workers.training.out_of_memory import is_out_of_memory, release_memory
from workers.training.smaller_stacks import train_within_memory
from workers.training.stack_choice import StackChoice, even_size
from workers.training.stacked import StackedEngine
from workers.training.timed_stack import TimedStack

_WORTHWHILE = 1.1
"""Another stack must be faster by this, which is more than two measurements of one differ by: a smaller one loses less
when it is interrupted, and fits more machines; a plainer program works on more machines."""

_STREAMS = (2, 4, 8)
"""Models in streams. On an H200 a step of a model of CIFAR-10 took 1.92 ms alone, and 1.61, 1.47 and 1.43 ms so."""

_MIN_SECONDS_TO_COMPILE = 300.0
"""Training that a campaign must take for compiling to be tried: that alone takes a minute or two."""

_TOLERANCE = 0.02
"""Relative difference of the losses at the first step of two programs, in whatever precision."""


def calibrate(campaign: Campaign, sizes: Sequence[int], precision: Precision, device: torch.device) -> StackChoice:
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
    choice = record.read(max(*sizes, *_STREAMS))
    if choice is None:
        data = load_on_device(dataset, campaign, np.array(dataset.train_labels), device)
        choice = fastest_stack(campaign, data, sizes, precision)
        if device.type == "cuda" and campaign.record.probes is None:
            choice = faster_program(campaign, data, choice, precision)
        record.write(choice)
    return choice


def fastest_stack(campaign: Campaign, data: DeviceData, sizes: Sequence[int], precision: Precision) -> StackChoice:
    """The size, of `sizes`, that trains most models per second on the data's device; what does not fit is left out.

    Takes seconds. Where none fits, the smallest is halved until it does. Raises ModelError where one model does not.
    """
    best, best_rate = 0, 0.0
    for size in sorted(sizes):
        try:
            rate = size / TimedStack(campaign, data, StackChoice(size), precision).seconds
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            break
        if rate > best_rate * _WORTHWHILE:
            best, best_rate = size, rate
    return StackChoice(best or _halved_until_it_fits(campaign, data, min(sizes), precision))


def faster_program(campaign: Campaign, data: DeviceData, grouped: StackChoice, precision: Precision) -> StackChoice:
    """The fastest of a grouped stack, models in streams, and the faster of these compiled.

    A program is taken where it gives the same bits twice, and the losses of the grouped one but for rounding. What it
    costs to compile is counted, against all steps of the campaign on one device.
    """
    reference = TimedStack(campaign, data, grouped, precision)
    best, best_seconds = grouped, reference.seconds / grouped.size
    for count in sorted({even_size(campaign.subsets.repetitions, limit) for limit in _STREAMS} - {1}):
        choice = StackChoice(count, StackProgram(kind="streams"))
        timed = _accepted(campaign, data, choice, precision, reference)
        if timed is None or timed.seconds / count * _WORTHWHILE > best_seconds:
            break
        best, best_seconds = choice, timed.seconds / count
    steps = _model_steps(campaign, len(data.train_labels))
    if steps * best_seconds > _MIN_SECONDS_TO_COMPILE:
        choice = replace(best, program=best.program.model_copy(update={"compiled": True}))
        timed = _accepted(campaign, data, choice, precision, reference)
        if timed is not None:
            compiled_seconds = timed.first_seconds + steps * timed.seconds / choice.size
            best = choice if compiled_seconds * _WORTHWHILE < steps * best_seconds else best
    return best


def _accepted(
    campaign: Campaign, data: DeviceData, choice: StackChoice, precision: Precision, reference: TimedStack
) -> TimedStack | None:
    """The measurement of a program; None where it fails, does not fit, or computes something else."""
    try:
        first, second = (TimedStack(campaign, data, choice, precision) for _ in range(2))
    except Exception:  # noqa: BLE001 - compilers and captures fail in many ways; the grouped program is there
        release_memory(data.device)
        return None
    start = reference.losses[0, 0]
    alike = torch.allclose(first.losses[0, 0], start, rtol=_TOLERANCE, atol=0)
    return first if alike and torch.equal(first.losses, second.losses) else None


def _model_steps(campaign: Campaign, examples: int) -> int:
    """Updates of all models of a campaign."""
    sizes = [subset_size(ratio_ppm, examples) for ratio_ppm in campaign.subsets.ratios_ppm]
    steps = sum(steps_per_epoch(campaign.recipe, size) for size in sizes)
    return campaign.subsets.repetitions * campaign.recipe.epochs * steps


def _halved_until_it_fits(campaign: Campaign, data: DeviceData, size: int, precision: Precision) -> int:
    def fitting_size(engine: Engine) -> int:
        TimedStack(campaign, data, StackChoice(engine.size, GROUPED), precision)
        return engine.size

    release_memory(data.device)
    return train_within_memory(StackedEngine(size, precision), campaign, data.device, fitting_size)
