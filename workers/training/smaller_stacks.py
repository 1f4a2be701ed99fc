"""Chooses smaller stacks where a device's memory is exhausted, down to one model."""

from collections.abc import Callable
from typing import TypeVar

import torch

from workers.campaign.campaign import Campaign
from workers.campaign.model_spec import CustomModel
from workers.common.free_memory import free_memory
from workers.errors import ModelError
from workers.training.engine import Engine
from workers.training.out_of_memory import is_out_of_memory, release_memory

Trained = TypeVar("Trained")


def train_within_memory(
    engine: Engine,
    campaign: Campaign,
    device: torch.device,
    attempt: Callable[[Engine], Trained],
    on_smaller: Callable[[Engine, Engine], None] = lambda engine, smaller: None,
) -> Trained:
    """What `attempt` returns with the engine, or with the first of those of half its size for which memory suffices.

    `on_smaller` gets each engine that ran out of memory and the one that follows. Raises as `smaller_engine`.
    """
    while True:
        try:
            return attempt(engine)
        except (RuntimeError, MemoryError) as error:
            smaller = smaller_engine(engine, error, campaign, device)
        on_smaller(engine, smaller)
        engine = smaller
        release_memory(device)


def smaller_engine(
    engine: Engine, error: RuntimeError | MemoryError, campaign: Campaign, device: torch.device
) -> Engine:
    """The engine that trains half as many models at a time, after `error` with this one.

    Raises the error itself where it is no lack of memory, ModelError where a single model does not fit: it says what to
    change, and the device's memory. Call `release_memory` once the error is handled.
    """
    if not is_out_of_memory(error):
        raise error
    smaller = engine.halved()
    if smaller is None:
        raise _one_model_error(campaign, engine, device) from error
    return smaller


def _one_model_error(campaign: Campaign, engine: Engine, device: torch.device) -> ModelError:
    spec, recipe = campaign.model, campaign.recipe
    name = spec.name if isinstance(spec, CustomModel) else f"model {spec.name}"
    halved = "" if engine.precision == "bfloat16" else "set recipe.precision: bfloat16, "
    return ModelError(
        f"{name}: training one model runs out of memory on {_described(device)}: lower recipe.batch_size "
        f"({recipe.batch_size:,}), {halved}or choose a smaller model"
    )


def _described(device: torch.device) -> str:
    if device.type != "cuda":
        free = free_memory()
        return f"the {device.type.upper()}" + ("" if free is None else f" ({free / 1e9:,.1f} GB free now)")
    free, total = torch.cuda.mem_get_info(device)
    return f"{torch.cuda.get_device_name(device)} ({total / 1e9:,.1f} GB, {free / 1e9:,.1f} GB of it free now)"
