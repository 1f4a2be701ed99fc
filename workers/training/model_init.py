"""Builds the initial model of a run."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import nn

from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run
from workers.models import build_model
from workers.subsets.draw import Purpose, draw_subset, integer_seed
from workers.training.device_data import DeviceData
from workers.training.initialization import initialize
from workers.training.random_draws import DrawsFrom
from workers.training.stage_masks import set_masks
from workers.training.whitening import whiten


class DrawnModel(NamedTuple):
    """A model whose weights are drawn, and the state in which that left its generator."""

    model: nn.Module
    generator: torch.Tensor


def initial_model(campaign: Campaign, data: DeviceData, run: Run) -> nn.Module:
    """The model on the CPU, its weights drawn from the run's own stream.

    Seeds torch's global generators, from which dropout and the like in user models go on drawing.
    """
    torch.manual_seed(_seed(campaign, run))
    return _completed(_drawn(campaign, data), campaign, data, run)


def trained_model(campaign: Campaign, data: DeviceData, run: Run, state: Mapping[str, torch.Tensor]) -> nn.Module:
    """A float32 model of the run on the data's device, in evaluation mode, with the trained weights of `state`.

    Parts that `state` lacks are not trained, and are as at the start. Seeds torch's global generators as
    `initial_model` does.
    """
    model = initial_model(campaign, data, run).to(data.device)
    model.load_state_dict({**model.state_dict(), **state})
    return model.eval()


def draw_model(campaign: Campaign, data: DeviceData, run: Run) -> DrawnModel:
    """Draw the weights of `initial_model`, in any thread: torch's global generators and the device are left alone."""
    generator = torch.Generator().manual_seed(_seed(campaign, run))
    with DrawsFrom(generator):
        model = _drawn(campaign, data)
    return DrawnModel(model, generator.get_state())


def complete_model(drawn: DrawnModel, campaign: Campaign, data: DeviceData, run: Run) -> nn.Module:
    """The model of `initial_model`, and torch's global generators as that leaves them."""
    torch.manual_seed(_seed(campaign, run))
    torch.default_generator.set_state(drawn.generator)
    return _completed(drawn.model, campaign, data, run)


def _seed(campaign: Campaign, run: Run) -> int:
    return integer_seed(campaign, Purpose.INITIALIZATION, run)


def _drawn(campaign: Campaign, data: DeviceData) -> nn.Module:
    model = build_model(campaign.model, data.input_shape, data.num_classes)
    initialize(model, campaign.recipe.initialization)
    return model


def _completed(model: nn.Module, campaign: Campaign, data: DeviceData, run: Run) -> nn.Module:
    """With what is taken from the data, on their device."""
    if campaign.recipe.initialization.whitening:
        subset = draw_subset(campaign, run, len(data.train_labels), data.subset_source)
        whiten(model, data, subset.nonzero()[0])
    set_masks(model, campaign, len(data.train_labels), data.device)
    return model
