"""Finds the head of a model: the last linear layer, from penultimate-layer features to logits."""

from torch import nn


def find_head(model: nn.Module) -> nn.Linear | None:
    """The last linear layer, in the order in which the model registers its layers; None where it has none."""
    layers = [module for module in model.modules() if type(module) is nn.Linear]
    return layers[-1] if layers else None
