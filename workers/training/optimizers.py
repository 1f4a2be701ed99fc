"""The optimizer step over the weights of a model or a stack: weights of one role are updated together."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import nn

from workers.campaign.recipe import Muon, Optimizer
from workers.errors import CampaignError
from workers.models.stacking import Weight
from workers.models.weight_roles import weight_roles
from workers.training.elementwise_update import ElementwiseUpdate
from workers.training.muon import MuonUpdate

WeightGradients = Sequence[torch.Tensor | None]


class WeightGroup(Protocol):
    """The update of some of the weights, by their indices among all."""

    def set_rate_factor(self, factor: float) -> None:
        """The learning rate of the next steps, over the recipe's."""

    def apply(self, gradients: WeightGradients) -> None:
        """One step by the gradients of all weights; a weight of the group without one is left alone."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """What a step changes, by name and index, apart from weights."""


class Update:
    """Changes weights by their gradients, as `config` says. Weights without a gradient are left alone.

    `compute` is the dtype of matrix products, also of those in an update.
    """

    def __init__(self, weights: Sequence[Weight], config: Optimizer, compute: torch.dtype = torch.float32) -> None:
        self.weights = weights
        self.groups = _groups(weights, config, compute)

    def tensors(self) -> dict[str, torch.Tensor]:
        """What an update changes, by name, apart from the weights that modules hold."""
        masters = {f"master.{i}": weight.master for i, weight in enumerate(self.weights) if weight.is_copied}
        for group in self.groups:
            masters |= group.tensors()
        return masters

    def reset(self) -> None:
        """The state before the first step, in place: zeros, as every group starts."""
        for group in self.groups:
            for tensor in group.tensors().values():
                tensor.zero_()

    def set_rate_factor(self, factor: float) -> None:
        """The learning rates of the next steps, over the recipe's."""
        for group in self.groups:
            group.set_rate_factor(factor)

    def gradients(self, losses: torch.Tensor, factor: float = 1.0, *, retain_graph: bool = False) -> WeightGradients:
        """Of `factor` times the sum of the losses, for each weight; None for weights that it does not depend on.

        With `retain_graph` gradients of other sums of the same losses can be asked for afterwards.
        """
        # Not through `.grad`, for which gradients that custom functions return are copied once more.
        working = [weight.working for weight in self.weights]
        root = _WeightedSum.apply(losses, factor)
        return torch.autograd.grad(root, working, allow_unused=True, retain_graph=retain_graph)

    def apply(self, gradients: WeightGradients) -> None:
        """One step down the gradients, as `gradients` gives them."""
        for group in self.groups:
            group.apply(gradients)


class _WeightedSum(torch.autograd.Function):
    """Stands for `factor` times the sum of losses, whose value nobody needs: the root of their gradients.

    torch.autograd.grad compares the shapes of gradients that it is given by sympy, whose import takes half a second.
    """

    @staticmethod
    def forward(ctx: Any, losses: torch.Tensor, factor: float) -> torch.Tensor:
        """An empty scalar."""
        ctx.like, ctx.factor = losses.detach(), factor
        return losses.new_empty(())

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        """`factor` for each loss."""
        return torch.full_like(ctx.like, ctx.factor), None


def check_optimizer(config: Optimizer, model: nn.Module, name: str) -> None:
    """Raise CampaignError where the optimizer has options for weights that the model does not have."""
    roles = {role for parameter, role in weight_roles(model).items() if parameter.requires_grad}
    others, field = (config.others, "optimizer.others") if isinstance(config, Muon) else (config, "optimizer")
    if isinstance(config, Muon) and "matrix" not in roles:
        raise CampaignError(
            f"recipe.optimizer: muon is for the matrices of hidden layers, and {name} has none: give sgd, adam or adamw"
        )
    if others.norm_bias_factor != 1 and "norm-bias" not in roles:
        raise CampaignError(
            f"recipe.{field}.norm_bias_factor: is for the biases of batch norms, and {name} has none, "
            f"got {others.norm_bias_factor:g}"
        )


def _groups(weights: Sequence[Weight], config: Optimizer, compute: torch.dtype) -> list[WeightGroup]:
    groups: list[WeightGroup] = []
    left = list(enumerate(weights))
    if isinstance(config, Muon):
        matrices = [(i, weight) for i, weight in left if weight.role == "matrix"]
        groups += [MuonUpdate(dict(matrices), config, compute)] if matrices else []
        left, config = [(i, weight) for i, weight in left if weight.role != "matrix"], config.others
    if config.norm_bias_factor != 1:
        biases = [(i, weight) for i, weight in left if weight.role == "norm-bias"]
        groups += [ElementwiseUpdate(dict(biases), config, config.norm_bias_factor)] if biases else []
        left = [(i, weight) for i, weight in left if weight.role != "norm-bias"]
    return [*groups, ElementwiseUpdate(dict(left), config)] if left or not groups else groups
