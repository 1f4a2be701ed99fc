"""Builds the initial model of a run."""

import torch
from torch import nn

from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run
from workers.models import build_model
from workers.subsets.draw import Purpose, draw_subset, integer_seed
from workers.training.device_data import DeviceData
from workers.training.initialization import initialize
from workers.training.stage_masks import set_masks
from workers.training.whitening import whiten


def initial_model(campaign: Campaign, data: DeviceData, run: Run) -> nn.Module:
    """The model on the CPU, its weights drawn from the run's own stream.

    Seeds torch's global generators, from which dropout and the like in user models go on drawing.
    """
    torch.manual_seed(integer_seed(campaign, Purpose.INITIALIZATION, run))
    model = build_model(campaign.model, data.input_shape, data.num_classes)
    initialize(model, campaign.recipe.initialization)
    if campaign.recipe.initialization.whitening:
        subset = draw_subset(campaign, run, len(data.train_labels), data.scored)
        whiten(model, data, subset.nonzero()[0])
    set_masks(model, campaign, len(data.train_labels), data.device)
    return model
