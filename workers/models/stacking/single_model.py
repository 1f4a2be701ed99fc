"""Weights of a model that is trained by itself, not in a stack."""

from torch import nn

from workers.models.stacking.model import Weight
from workers.models.weight_roles import weight_roles


def single_model_weights(model: nn.Module) -> list[Weight]:
    """The trainable parameters, each with its name and its role, as an optimizer takes them."""
    roles = weight_roles(model)
    return [
        Weight(parameter.detach(), parameter, name, roles[parameter], stacked=False)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    ]
