"""Lookahead: slow weights that follow the weights and replace them every few updates."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from workers.campaign.recipe import Lookahead
from workers.models.stacking import Weight
from workers.models.stacking.layers import StackedBatchNorm


class SlowWeights:
    """See `Lookahead`. Every slow value is of one weight of one model, so that a stack's models do not mix."""

    def __init__(self, config: Lookahead, weights: Sequence[Weight], statistics: Sequence[torch.Tensor]) -> None:
        """`statistics` are `running_statistics` of what holds the weights."""
        self.config = config
        self._copied = [weight for weight in weights if weight.is_copied]
        self._fast = [*(weight.master for weight in weights), *statistics]
        self._slow = [each.clone() for each in self._fast]

    def tensors(self) -> dict[str, torch.Tensor]:
        """The slow values, by name."""
        return {f"slow.{i}": tensor for i, tensor in enumerate(self._slow)}

    def reset(self) -> None:
        """Set the slow weights to the present weights."""
        with torch.no_grad():
            torch._foreach_copy_(self._slow, self._fast)

    def follow(self, step: int, total: int) -> None:
        """After update `step` (from 1) of `total`: every few updates move the slow weights; then, and after the last
        update, replace the weights by them. Does not wait for the device."""
        due = step % self.config.every == 0
        if not due and step < total:
            return
        with torch.no_grad():
            if due:
                retention = self.config.decay**self.config.every * (step / total) ** self.config.power
                torch._foreach_lerp_(self._slow, self._fast, 1 - retention)
            torch._foreach_copy_(self._fast, self._slow)
            for weight in self._copied:
                weight.working.copy_(weight.master)


def running_statistics(modules: nn.Module) -> list[torch.Tensor]:
    """The running means and variances of norms, of models or of stacks. Other buffers are not averaged: what they
    hold is not known."""
    norms = [module for module in modules.modules() if isinstance(module, _NormBase | StackedBatchNorm)]
    return [each for norm in norms for each in norm.buffers(recurse=False) if each.is_floating_point()]
