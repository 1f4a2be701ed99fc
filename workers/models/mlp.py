"""Fully connected networks."""

import math

from torch import nn

from workers.campaign.model_spec import MLP


def build_mlp(spec: MLP, input_shape: tuple[int, ...], num_classes: int) -> nn.Sequential:
    """Flattened input of any shape, a linear layer and ReLU for each of `hidden`, a linear layer."""
    layers: list[nn.Module] = [nn.Flatten()]
    width = math.prod(input_shape)
    for hidden in spec.hidden:
        layers += [nn.Linear(width, hidden), nn.ReLU()]
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, num_classes))
