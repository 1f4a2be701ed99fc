"""SGD, Adam and AdamW: one fused, elementwise update of a group of weights.

PyTorch's functional forms: its optimiser classes import the compiler at their first step, most of a second in every
worker, and add their bookkeeping to every step.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Protocol

import torch
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from workers.campaign.recipe import SGD, AdamOptimizer, AdamW
from workers.models.stacking import Weight
from workers.training.memory_layout import is_dense, laid_out_like
from workers.training.scheduled_rate import ScheduledRate

_LARGE = 1 << 18
"""Elements. PyTorch updates any number of smaller weights in one kernel."""


class OnePassUpdate(Protocol):
    """The steps of one weight: gradient, weight and state are read once, weight, state and copy written once."""

    def apply(self, gradient: torch.Tensor, rate: Any) -> None:
        """One step at a rate, which is a tensor on a GPU."""


OnePassUpdateFactory = Callable[[Weight, Sequence[torch.Tensor], SGD | AdamW], OnePassUpdate]
"""The update of a weight with its momentum, or with Adam's mean gradient, mean square, and number of steps."""


class ElementwiseUpdate:
    """See `WeightGroup`. `factor` is of the learning rate; the weight decay is divided by it.

    `one_pass`: weights for which there is a `OnePassUpdate` are updated by it; False: all by PyTorch's kernels.
    """

    def __init__(
        self, weights: Mapping[int, Weight], config: SGD | AdamOptimizer, factor: float = 1.0, *, one_pass: bool = True
    ) -> None:
        self.indices, self.weights = tuple(weights), tuple(weights.values())
        self.config = (
            config if factor == 1 else config.model_copy(update={"weight_decay": config.weight_decay / factor})
        )
        self.rate = ScheduledRate(config.learning_rate * factor, self.weights)
        self.first = [torch.zeros_like(weight.master) for weight in self.weights]
        """Momentum, or Adam's mean gradient."""
        self.second = [torch.zeros_like(weight.master) for weight in self.weights if isinstance(config, AdamOptimizer)]
        self.steps = [torch.zeros((), device=mean.device) for mean in self.second]
        states = zip(self.first, self.second, self.steps, strict=True) if self.second else zip(self.first, strict=True)
        self.fused = [
            _one_pass_update(weight, state, self.config) if one_pass else None
            for weight, state in zip(self.weights, states, strict=True)
        ]
        # Held, because a core finds memory that it used a moment ago in its cache, and new memory not.
        self.held = [
            torch.zeros_like(weight.master) if update is None and weight.is_copied else None
            for weight, update in zip(self.weights, self.fused, strict=True)
        ]

    def tensors(self) -> dict[str, torch.Tensor]:
        """See `WeightGroup.tensors`."""
        kinds: dict[str, Sequence[torch.Tensor]] = {"first": self.first, "second": self.second, "steps": self.steps}
        return {
            f"{kind}.{index}": tensor
            for kind, tensors in kinds.items()
            for index, tensor in zip(self.indices, tensors, strict=bool(tensors))
        }

    def set_rate_factor(self, factor: float) -> None:
        """See `WeightGroup.set_rate_factor`."""
        self.rate.set_factor(factor)

    def apply(self, gradients: Sequence[torch.Tensor | None]) -> None:
        """See `WeightGroup.apply`."""
        own = [gradients[index] for index in self.indices]
        used = []
        for place, (gradient, update) in enumerate(zip(own, self.fused, strict=True)):
            if gradient is not None and update is not None:
                update.apply(gradient, self.rate.value)
            elif gradient is not None:
                used.append(place)

        def of(values: Sequence[Any]) -> list[Any]:
            return [values[place] for place in used]

        with torch.no_grad():
            masters = [weight.master for weight in of(self.weights)]
            inputs = [
                laid_out_like(master, gradient) if held is None else held.copy_(gradient)
                for master, held, gradient in zip(masters, of(self.held), of(own), strict=True)
            ]
            if isinstance(self.config, SGD):
                self._sgd(self.config, masters, inputs, of(self.first))
            else:
                self._adam(self.config, masters, inputs, [of(self.first), of(self.second), of(self.steps)])
            for weight, held in zip(of(self.weights), of(self.held), strict=True):
                if held is not None:
                    weight.working.copy_(weight.master)

    def _sgd(self, config: SGD, parameters: list[Any], gradients: list[Any], momentum: list[Any]) -> None:
        sgd(
            parameters,
            gradients,
            momentum,
            fused=True,
            weight_decay=config.weight_decay,
            momentum=config.momentum,
            lr=self.rate.value,
            dampening=0.0,
            nesterov=config.nesterov,
            maximize=False,
        )

    def _adam(self, config: AdamOptimizer, parameters: list[Any], gradients: list[Any], state: list[list[Any]]) -> None:
        first, second, steps = state
        step = adamw if isinstance(config, AdamW) else adam
        step(
            parameters,
            gradients,
            first,
            second,
            [],
            steps,
            fused=True,
            capturable=isinstance(self.rate.value, torch.Tensor),
            amsgrad=False,
            beta1=config.beta1,
            beta2=config.beta2,
            lr=self.rate.value,
            weight_decay=config.weight_decay,
            eps=config.epsilon,
            maximize=False,
        )


def _one_pass_update(
    weight: Weight, state: Sequence[torch.Tensor], config: SGD | AdamOptimizer
) -> OnePassUpdate | None:
    """The steps of a weight whose copy in half precision lies in memory as its master does; None: PyTorch's.

    On a CPU for SGD, on a GPU Triton's of SGD and AdamW for weights whose passes take longer than launching a kernel.
    """
    master, device = weight.master, weight.master.device
    if not weight.is_copied or not is_dense(master) or master.stride() != weight.working.stride():
        return None
    if device.type == "cpu" and isinstance(config, SGD) and master.is_contiguous():
        from workers.training.fused_sgd import FusedSGD  # here: numba takes half a second to import

        return FusedSGD(weight, state[0], config)
    if device.type == "cuda" and master.numel() >= _LARGE and isinstance(config, SGD | AdamW):
        one_pass_update = triton_update_factory(device)
        return None if one_pass_update is None else one_pass_update(weight, state, config)
    return None


@cache
def triton_update_factory(device: torch.device) -> OnePassUpdateFactory | None:
    """`triton_update.one_pass_update`; None where Triton is missing or cannot compile for this device."""
    try:
        from workers.training import triton_update
    except (ImportError, OSError):  # OSError: a library that Triton loads is damaged or not for this machine
        return None
    return triton_update.one_pass_update if triton_update.is_supported(device) else None
