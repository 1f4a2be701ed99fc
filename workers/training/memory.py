"""Checks that a campaign's training fits into a CPU's memory."""

from functools import lru_cache, partial

import torch

from workers.campaign.campaign import Campaign
from workers.campaign.model_spec import CustomModel, ModelSpec
from workers.campaign.stage_dropout import ExampleTied
from workers.models import build_model
from workers.models.building import build_standard
from workers.models.memory import estimated_bytes, evaluation_bytes, parameter_count, training_bytes
from workers.models.size import allowed_training, check_training_size
from workers.subsets.draw import largest_minibatch
from workers.training.device_data import DeviceData
from workers.training.engine import Engine
from workers.training.stage_masks import mask_bytes

_SAFETY_FACTOR = 4
"""Kernels differ in temporary memory: an estimate of at most a quarter of the allowed memory is accepted."""

_MAX_SIMULATED_PARAMETERS = 1_000_000
"""Parameters: passes of larger models may take longer than torch's meta device takes to get ready."""


def check_training_memory(
    campaign: Campaign, engine: Engine, input_shape: tuple[int, ...], num_classes: int, counts: tuple[int, int]
) -> None:
    """Raise ModelError where training a standard model on a CPU would take more memory than its user allows.

    `counts` are the numbers of training and test examples. What a model of the user's own takes is their business, but
    for the masks of its stage dropout.
    """
    spec = campaign.model
    masks = _mask_bytes(spec, input_shape, num_classes, counts[0])
    if masks:
        check_training_size(masks, f"model.stage_dropout: the masks of {counts[0]:,} examples")
    if isinstance(spec, CustomModel):
        return
    batch = largest_minibatch(campaign, counts[0])
    evaluated = min(engine.evaluation_batch_size(on_cpu=True), max(counts))
    estimate = _estimate(spec, input_shape, num_classes, batch, evaluated)
    if estimate is not None and (masks + engine.size * estimate) * _SAFETY_FACTOR <= allowed_training():
        return
    training, evaluation = _bytes(spec, input_shape, num_classes, batch, evaluated)
    models = f"{engine.size} models {spec.name}" if engine.size > 1 else f"model {spec.name}"
    shape = " x ".join(map(str, input_shape))
    check_training_size(
        masks + engine.size * training,
        f"recipe.batch_size: training {models} on minibatches of {batch:,} examples of {shape}",
    )
    check_training_size(
        masks + engine.size * evaluation, f"model: evaluating {models} on {evaluated:,} examples of {shape}"
    )


def check_memory_on_cpu(campaign: Campaign, engine: Engine, data: DeviceData) -> None:
    """The same for data on a device; on a GPU torch raises its own error."""
    if data.device.type == "cpu":
        counts = (len(data.train_labels), len(data.test_labels))
        check_training_memory(campaign, engine, data.input_shape, data.num_classes, counts)


def _mask_bytes(spec: ModelSpec, input_shape: tuple[int, ...], num_classes: int, num_train: int) -> int:
    """Of example-tied dropout; 0 without it."""
    if not isinstance(spec.stage_dropout, ExampleTied):
        return 0
    with torch.random.fork_rng(devices=[]):
        return mask_bytes(build_model(spec, input_shape, num_classes), num_train)


@lru_cache(64)
def _estimate(
    spec: ModelSpec, input_shape: tuple[int, ...], num_classes: int, batch: int, evaluated: int
) -> int | None:
    """The larger of the two, about; None where the estimate cannot be had, or only slowly."""
    build = partial(build_standard, spec, input_shape, num_classes)
    if parameter_count(build) > _MAX_SIMULATED_PARAMETERS:
        return None
    training = estimated_bytes(build, input_shape, batch, training=True)
    evaluation = estimated_bytes(build, input_shape, evaluated, training=False)
    return None if training is None or evaluation is None else max(training, evaluation)


@lru_cache(64)
def _bytes(
    spec: ModelSpec, input_shape: tuple[int, ...], num_classes: int, batch: int, evaluated: int
) -> tuple[int, int]:
    build = partial(build_standard, spec, input_shape, num_classes)
    return training_bytes(build, input_shape, batch), evaluation_bytes(build, input_shape, evaluated)
