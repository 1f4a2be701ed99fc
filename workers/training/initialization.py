"""Weight initialization, drawn on the CPU so that a GPU starts from the same weights."""

import math

import torch
from torch import nn

from workers.campaign.recipe import Initialization

# Standard deviation of the standard normal cut at +-2; JAX divides by it, so that the variance is kept after the cut.
_CUT_STD = 0.87962566103423978


def initialize(model: nn.Module, how: Initialization) -> None:
    """Redraw the weights and biases of linear and convolution layers in place, from torch's global generator."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd):
            _draw_weight(layer.weight, how.weights)
            if layer.bias is not None and how.bias_std is not None:
                nn.init.normal_(layer.bias, std=how.bias_std)


def _draw_weight(weight: torch.Tensor, scheme: str) -> None:
    match scheme:
        case "default":
            pass
        case "glorot-normal":
            fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(weight)
            std = math.sqrt(2 / (fan_in + fan_out)) / _CUT_STD
            nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)
        case "glorot-uniform":
            nn.init.xavier_uniform_(weight)
        case "kaiming-normal":
            nn.init.kaiming_normal_(weight, nonlinearity="relu")
        case "kaiming-uniform":
            nn.init.kaiming_uniform_(weight, nonlinearity="relu")
