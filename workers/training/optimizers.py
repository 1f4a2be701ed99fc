"""The optimizer step over the weights of a model or a stack: one fused, elementwise update.

PyTorch's functional forms: its optimiser classes import the compiler at their first step, most of a second in every
worker, and add their bookkeeping to every step.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from workers.campaign.recipe import SGD, AdamW
from workers.models.stacking import Weight

if TYPE_CHECKING:
    from workers.training.fused_sgd import FusedSGD


class Update:
    """Changes weights by their gradients, as `how` says. Weights without a gradient are left alone."""

    def __init__(self, weights: Sequence[Weight], how: SGD | AdamW) -> None:
        self.how = how
        self.weights = weights
        device = weights[0].master.device if weights else torch.device("cpu")
        # On a GPU the rate lies there, so that a captured step sees it change.
        self.rate: Any = torch.tensor(how.learning_rate, device=device) if device.type == "cuda" else 0.0
        self.first = [torch.zeros_like(weight.master) for weight in weights]
        """Momentum, or Adam's mean gradient."""
        self.second = [torch.zeros_like(weight.master) for weight in weights if isinstance(how, AdamW)]
        self.steps = [torch.zeros((), device=device) for _ in self.second]
        self.fused = [_fused_sgd(weight, momentum, how) for weight, momentum in zip(weights, self.first, strict=True)]
        # Held, because a core finds memory that it used a moment ago in its cache, and new memory not.
        self.held = [
            torch.zeros_like(weight.master) if one is None and weight.is_copied else None
            for weight, one in zip(weights, self.fused, strict=True)
        ]

    def tensors(self) -> dict[str, torch.Tensor]:
        """What an update changes, by name, apart from the weights that modules hold."""
        kinds: dict[str, Sequence[torch.Tensor]] = {
            "master": [weight.master for weight in self.weights if weight.is_copied],
            "first": self.first,
            "second": self.second,
            "steps": self.steps,
        }
        return {f"{kind}.{i}": tensor for kind, tensors in kinds.items() for i, tensor in enumerate(tensors)}

    def set_rate(self, rate: float) -> None:
        """The learning rate of the next steps."""
        if isinstance(self.rate, torch.Tensor):
            self.rate.fill_(rate)
        else:
            self.rate = rate

    def gradients(
        self, losses: torch.Tensor, factor: float = 1.0, *, retain_graph: bool = False
    ) -> Sequence[torch.Tensor | None]:
        """Of `factor` times the sum of the losses, for each weight; None for weights that it does not depend on.

        With `retain_graph` gradients of other sums of the same losses can be asked for afterwards.
        """
        # Not through `.grad`, for which gradients that custom functions return are copied once more.
        working = [weight.working for weight in self.weights]
        factors = torch.full_like(losses, factor)
        return torch.autograd.grad(losses, working, factors, allow_unused=True, retain_graph=retain_graph)

    def apply(self, found: Sequence[torch.Tensor | None]) -> None:
        """One step down the gradients, as `gradients` gives them."""
        used = []
        for index, (gradient, one) in enumerate(zip(found, self.fused, strict=True)):
            if gradient is not None and one is not None:
                one.apply(gradient, self.rate)
            elif gradient is not None:
                used.append(index)

        def of(values: Sequence[Any]) -> list[Any]:
            return [values[index] for index in used]

        with torch.no_grad():
            masters = [weight.master for weight in of(self.weights)]
            gradients = [
                _laid_out_like(master, gradient) if held is None else held.copy_(gradient)
                for master, held, gradient in zip(masters, of(self.held), of(found), strict=True)
            ]
            if isinstance(self.how, SGD):
                self._sgd(self.how, masters, gradients, of(self.first))
            else:
                self._adamw(self.how, masters, gradients, [of(self.first), of(self.second), of(self.steps)])
            for weight, held in zip(of(self.weights), of(self.held), strict=True):
                if held is not None:
                    weight.working.copy_(weight.master)

    def _sgd(self, how: SGD, parameters: list[Any], gradients: list[Any], momentum: list[Any]) -> None:
        sgd(
            parameters,
            gradients,
            momentum,
            fused=True,
            weight_decay=how.weight_decay,
            momentum=how.momentum,
            lr=self.rate,
            dampening=0.0,
            nesterov=how.nesterov,
            maximize=False,
        )

    def _adamw(self, how: AdamW, parameters: list[Any], gradients: list[Any], state: list[list[Any]]) -> None:
        first, second, steps = state
        adamw(
            parameters,
            gradients,
            first,
            second,
            [],
            steps,
            fused=True,
            capturable=isinstance(self.rate, torch.Tensor),
            amsgrad=False,
            beta1=how.beta1,
            beta2=how.beta2,
            lr=self.rate,
            weight_decay=how.weight_decay,
            eps=how.epsilon,
            maximize=False,
        )


def _fused_sgd(weight: Weight, momentum: torch.Tensor, how: SGD | AdamW) -> "FusedSGD | None":
    """For SGD on a CPU, where a copy in half precision lies in memory as its master does."""
    tensors = (weight.master, weight.working)
    if not weight.is_copied or not isinstance(how, SGD) or not all(tensor.is_contiguous() for tensor in tensors):
        return None
    if weight.master.device.type != "cpu":
        return None
    from workers.training.fused_sgd import FusedSGD  # here: numba takes half a second to import

    return FusedSGD(weight, momentum, how)


def _laid_out_like(master: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """The gradient with the weight's strides: the fused updates walk through memory, whatever the order there."""
    return gradient if gradient.stride() == master.stride() else torch.empty_like(master).copy_(gradient)
