"""The recipe's optimiser over a model's or a stack's parameters: one fused, elementwise update.

PyTorch's functional forms: its optimiser classes import the compiler at their first step, most of a second in every
worker, and add their bookkeeping to every step.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from workers.recipe import SGD, AdamW


class Update:
    """Changes parameters by their gradients, as `how` says. Parameters without a gradient are left alone."""

    def __init__(self, parameters: Iterable[torch.nn.Parameter], how: SGD | AdamW) -> None:
        self.how = how
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        on_gpu = bool(self.parameters) and self.parameters[0].device.type == "cuda"
        # On a GPU the rate lies there, so that a captured step sees it change.
        self.rate: Any = torch.tensor(how.learning_rate, device=self.parameters[0].device) if on_gpu else 0.0
        self.first = [torch.zeros_like(parameter) for parameter in self.parameters]
        """Momentum, or Adam's mean gradient."""
        self.second = [torch.zeros_like(parameter) for parameter in self.parameters if isinstance(how, AdamW)]
        self.steps = [torch.zeros((), device=moment.device) for moment in self.second]

    def set_rate(self, rate: float) -> None:
        """The learning rate of the next steps."""
        if isinstance(self.rate, torch.Tensor):
            self.rate.fill_(rate)
        else:
            self.rate = rate

    def descend(self, loss: torch.Tensor) -> None:
        """One step down the gradient of a scalar loss."""
        for parameter in self.parameters:
            parameter.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        used = [index for index, parameter in enumerate(self.parameters) if parameter.grad is not None]

        def of(values: list[Any]) -> list[Any]:
            return [values[index] for index in used]

        parameters = of(self.parameters)
        gradients = [parameter.grad for parameter in parameters]
        with torch.no_grad():
            if isinstance(self.how, SGD):
                self._sgd(self.how, parameters, gradients, of(self.first))
            else:
                self._adamw(self.how, parameters, gradients, [of(self.first), of(self.second), of(self.steps)])

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
