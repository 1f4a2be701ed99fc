"""A training step on a device that holds no values: what would wait for the device, or leave it, raises there.

This is what a CUDA graph asks of a step, found out without a GPU.
"""

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from tests.conftest import small_campaign
from workers.models import build_model
from workers.models.stacking import StackedModel
from workers.training.augmentation import DRAWS
from workers.training.device_data import DeviceData
from workers.training.optimizers import Update
from workers.training.pixel_sources import PixelSource, ResidentPixels, StreamedPixels
from workers.training.training_step import Gradients, TrainingStep

DEVICE = torch.device("meta")
COUNT, BATCH, CLASSES = 3, 8, 10


def data_of(shape: tuple[int, ...], *, streamed: bool) -> DeviceData:
    def images(count: int) -> PixelSource:
        if streamed:
            return StreamedPixels(torch.empty((count, *shape), dtype=torch.uint8), DEVICE)
        return ResidentPixels(torch.empty((count, *shape), dtype=torch.uint8, device=DEVICE))

    def labels(count: int) -> torch.Tensor:
        return torch.empty(count, dtype=torch.int64, device=DEVICE)

    per_channel = torch.empty((shape[0], 1, 1), device=DEVICE)
    noisy = torch.zeros(50, dtype=torch.bool, device=DEVICE)
    train, test = (images(50), labels(50)), (images(20), labels(20))
    return DeviceData(*train, *test, per_channel, per_channel, per_channel, CLASSES, noisy)


def take_step(
    model: Mapping[str, object], shape: tuple[int, ...], dtype: torch.dtype, streamed: bool
) -> tuple[torch.Tensor, ...]:
    campaign = small_campaign(
        model=model,
        recipe={
            "epochs": 1,
            "batch_size": BATCH,
            "optimizer": {"name": "adamw"},  # SGD's fused form is not there without values
            "label_smoothing": 0.1,
            "augmentation": {"flip": True, "translate": 2, "cutout": 4},
        },
        record={"presentations": True, "probabilities": True},
    )
    data = data_of(shape, streamed=streamed)
    with DEVICE:
        models = [build_model(campaign.model, shape, CLASSES) for _ in range(COUNT)]
    stack = StackedModel(models, dtype, DEVICE)
    stack.train(True)
    step = TrainingStep(Gradients(campaign, data, stack, Update(stack.weights, campaign.recipe.optimizer)))
    index = torch.empty((COUNT, BATCH), dtype=torch.int64, device=DEVICE)
    changes = torch.empty((DRAWS, COUNT, BATCH), dtype=torch.int64, device=DEVICE)
    if streamed:
        return step.on_images(torch.empty((COUNT * BATCH, *shape), dtype=torch.uint8, device=DEVICE), index, changes)
    return step(index, changes)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "streamed"), [(torch.float32, True), (torch.bfloat16, False)], ids=str)
@pytest.mark.parametrize(
    "model",
    [
        {"name": "mlp", "hidden": [8]},
        {"name": "small-cnn", "width": 4},
        {"name": "resnet9", "width": 4},
        {"name": "airbench", "widths": [4, 8, 8]},
        {"name": "resnet18"},
    ],
    ids=lambda model: model["name"],
)
def test_a_step_neither_waits_for_the_device_nor_leaves_it(
    model: dict[str, Any], dtype: torch.dtype, streamed: bool
) -> None:
    sums, *observed = take_step(model, (3, 16, 16), dtype, streamed)
    assert (sums.shape, sums.device.type) == ((COUNT,), "meta")
    assert observed
    assert {(each.shape, each.device.type) for each in observed} == {((COUNT, BATCH), "meta")}
