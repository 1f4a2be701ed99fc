"""Factors on the units of a model's layers: 0 removes a unit; a factor's gradient estimates the effect."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from workers.common.arrays import Floats
from workers.models.layers import Layer, unit_axis

Unit = tuple[int, int]
"""(Place of the layer, place of the unit in it.)"""


class UnitMasks:
    """Multiplies each unit of some layers, at all positions of all examples, by a factor of its own, at first 1.

    The model's own weights are frozen. `inputs` are a minibatch that shows which units there are; a layer that is not
    used has none.
    """

    def __init__(self, model: nn.Module, layers: Sequence[Layer], inputs: torch.Tensor) -> None:
        model.requires_grad_(False)
        self._factors: dict[int, torch.Tensor] = {}
        self._taken: list[Unit] = []
        for place, layer in enumerate(layers):
            model.get_submodule(layer.output).register_forward_hook(self._hook(place))
        with torch.no_grad():
            model(inputs)
        self._factors = dict(sorted(self._factors.items()))
        for factors in self._factors.values():
            factors.requires_grad_(True)

    def take(self, unit: Unit) -> None:
        """Set a unit's activation to 0, until `give_back`."""
        self._taken.append(unit)
        with torch.no_grad():
            self._factors[unit[0]][unit[1]] = 0

    def give_back(self) -> None:
        """Set all factors to 1."""
        self._taken = []
        with torch.no_grad():
            for factors in self._factors.values():
                factors.fill_(1)

    def largest_gain(self, objective: torch.Tensor) -> Unit | None:
        """The unit whose loss would raise the objective the most, to first order; None where all are at 0.

        The derivative by a factor is the sum over positions and examples of activation times derivative; taking the
        unit away changes the objective by minus that. Of equal gains the first; gains that are not numbers are last.
        """
        gains = self._gains(objective)
        for layer, unit in self._taken:
            gains[layer][unit] = -np.inf
        best: Unit | None = None
        for layer, values in gains.items():
            if len(values) and values.max() > (-np.inf if best is None else gains[best[0]][best[1]]):
                best = (layer, int(values.argmax()))
        return best

    def _gains(self, objective: torch.Tensor) -> dict[int, Floats]:
        slopes = torch.autograd.grad(objective, list(self._factors.values()), allow_unused=True)
        gains = {}
        for (layer, factors), gradient in zip(self._factors.items(), slopes, strict=True):
            slope = torch.zeros_like(factors) if gradient is None else gradient
            gain = -slope.detach().double().cpu().numpy()
            gains[layer] = np.where(np.isfinite(gain), gain, np.finfo(np.float64).min)
        return gains

    def _hook(self, place: int) -> Callable[[nn.Module, Any, Any], Any]:
        def scale(module: nn.Module, inputs: Any, output: Any) -> Any:
            values, *others = output if isinstance(output, tuple) else (output,)
            axis = unit_axis(module, values)
            if place not in self._factors:
                self._factors[place] = torch.ones(values.shape[axis], device=values.device)
            shape = [1] * values.ndim
            shape[axis] = -1
            scaled = values * self._factors[place].view(shape)
            return (scaled, *others) if isinstance(output, tuple) else scaled

        return scale
