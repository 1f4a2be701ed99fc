"""The recipe's optimiser over a model's or a stack's parameters."""

from collections.abc import Iterable
from typing import Any

import torch

from workers.recipe import SGD, AdamW


def make_optimizer(parameters: Iterable[torch.nn.Parameter], how: SGD | AdamW) -> torch.optim.Optimizer:
    """One fused update over all parameters, elementwise: a stack's models do not touch each other.

    On a GPU the learning rate is a tensor there, so that a captured step sees it change.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    on_gpu = bool(trained) and trained[0].device.type == "cuda"
    rate: Any = torch.tensor(how.learning_rate, device=trained[0].device) if on_gpu else how.learning_rate
    if isinstance(how, AdamW):
        betas = (how.beta1, how.beta2)
        return torch.optim.AdamW(trained, rate, betas, how.epsilon, how.weight_decay, fused=True, capturable=on_gpu)
    return torch.optim.SGD(
        trained, rate, how.momentum, weight_decay=how.weight_decay, nesterov=how.nesterov, fused=True
    )


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
