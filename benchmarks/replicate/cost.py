"""GPU-hours of a preset, from its operations and the rates that networks of its kind reached on an H100.

Operations are counted (`benchmarks.flops`); `longtail plan --calibrate` measures seconds on a machine of yours.
"""

from dataclasses import dataclass

import torch

from benchmarks.flops import model_operations
from orchestrator.presets import preset_text
from workers.campaign.yaml_io import parse_campaign

SMALL_RATE = 19.7e12
"""Operations/s of 200 MLPs that train as one program: benchmarks/RESULTS.md. Small CNNs are taken for as fast."""
SMALL = ("mlp", "small-cnn", "mnist-cnn")
CONVOLUTION_RATE = 69e12
"""Operations/s of `cifar10-fast`, 8.9% of 780 TFLOP/s: ibid."""


@dataclass(frozen=True)
class DataShape:
    """A data set's sizes."""

    num_train: int
    num_test: int
    input_shape: tuple[int, ...]
    num_classes: int


SHAPES = {
    "digits": DataShape(1437, 360, (1, 8, 8), 10),
    "mnist": DataShape(60_000, 10_000, (1, 28, 28), 10),
    "cifar10": DataShape(50_000, 10_000, (3, 32, 32), 10),
    "cifar100": DataShape(50_000, 10_000, (3, 32, 32), 100),
    "svhn": DataShape(73_257, 26_032, (3, 32, 32), 10),
    "image-folder": DataShape(1_281_167, 50_000, (3, 224, 224), 1000),
}
"""By the name in the campaign; image folders are ImageNet's here."""


def gpu_hours(preset: str) -> float:
    """Of all runs, trained and evaluated, probes left out; one significant digit or two are meant."""
    campaign = parse_campaign(preset_text(preset), preset)
    with torch.device("meta"):  # shapes alone
        operations = model_operations(campaign, SHAPES[campaign.dataset.name])
    runs = campaign.subsets.repetitions * len(campaign.subsets.ratios)
    rate = SMALL_RATE if campaign.model.name in SMALL else CONVOLUTION_RATE
    return operations * runs / rate / 3600
