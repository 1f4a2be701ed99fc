"""Floating-point operations of training: two per multiply-add, in matrix products and convolutions.

A training step costs the forward pass, the gradient of every layer's weights and the gradient of every layer's input
but the first's: three forward passes less that one product. Evaluation costs a forward pass per example.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from workers.campaign.campaign import Campaign
from workers.campaign.lr_schedule import examples_per_epoch, steps_per_epoch
from workers.models import build_model
from workers.subsets.draw import subset_size

_BATCH = 2


class DataSizes(Protocol):
    """What is asked of a data set."""

    @property
    def num_train(self) -> int:
        """Training examples."""

    @property
    def num_test(self) -> int:
        """Test examples."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one image: [C, H, W]."""

    @property
    def num_classes(self) -> int:
        """Classes."""


@dataclass(frozen=True)
class ExampleOperations:
    """Operations of one example: of its forward pass, and of its share of a training step."""

    forward: float
    training: float


def example_operations(model: nn.Module, input_shape: tuple[int, ...]) -> ExampleOperations:
    """Counted by running the model on the CPU; input float32[B, *input_shape] that needs no gradient."""
    inputs = torch.zeros(_BATCH, *input_shape)
    model.train()
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        model(inputs)
    with FlopCounterMode(display=False) as training:
        model(inputs).sum().backward()
    return ExampleOperations(forward.get_total_flops() / _BATCH, training.get_total_flops() / _BATCH)


def model_operations(campaign: Campaign, dataset: DataSizes, *, evaluate_test: bool = True) -> float:
    """Operations of one of the campaign's models, trained and evaluated: the mean over its ratios.

    Evaluation covers all training examples, and all test examples where `evaluate_test`.
    """
    recipe = campaign.recipe
    one = example_operations(build_model(campaign.model, dataset.input_shape, dataset.num_classes), dataset.input_shape)
    sizes = [subset_size(ratio_ppm, dataset.num_train) for ratio_ppm in campaign.subsets.ratios_ppm]
    whole = [steps_per_epoch(recipe, size) * recipe.batch_size for size in sizes]
    presented = [min(examples_per_epoch(recipe, size), most) for size, most in zip(sizes, whole, strict=True)]
    evaluated = dataset.num_train + (dataset.num_test if evaluate_test else 0)
    passes = 2 if recipe.evaluation_flip else 1
    mean_presented = recipe.epochs * sum(presented) / len(presented)
    return mean_presented * one.training + evaluated * passes * one.forward
