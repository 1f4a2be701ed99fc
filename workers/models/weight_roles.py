"""Roles of a model's parameters, by which optimizers treat them differently."""

from typing import Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from workers.models.head import find_head

Role = Literal["matrix", "norm-bias", "other"]


def weight_roles(model: nn.Module) -> dict[nn.Parameter, Role]:
    """The role of each parameter.

    `matrix`: the weight of a hidden layer that maps inputs to outputs, [out, in] or a convolution's [out, ...]: neither
    the head's (the last linear layer), nor an embedding's, nor one with a single row or column. `norm-bias`: the bias
    of a batch norm.
    """
    head = find_head(model)
    without = (nn.Embedding, nn.EmbeddingBag)
    roles: dict[nn.Parameter, Role] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if isinstance(module, _BatchNorm) and name == "bias":
                roles[parameter] = "norm-bias"
            elif module is not head and not isinstance(module, without) and _is_matrix(parameter):
                roles.setdefault(parameter, "matrix")
            else:
                roles[parameter] = "other"
    return roles


def _is_matrix(parameter: nn.Parameter) -> bool:
    return parameter.ndim >= 2 and len(parameter) > 1 and parameter[0].numel() > 1
