"""The least time of a training step on a device: its products at the device's peak, its memory passes at its bandwidth.

What a step must do is counted from the model; both rates are measured. Passes over memory are those of the update and
of the activations behind layers with weights: written and read once forwards, once more backwards, their gradients
written and read. Everything else (norms, activations, pooling) is taken to be fused into these.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from benchmarks.flops import ExampleOperations, example_operations
from workers.campaign.campaign import Campaign
from workers.campaign.recipe import SGD
from workers.models import build_model
from workers.training import Precision

_MIN_SECONDS = 0.2
_SIZES = {"cpu": 512, "cuda": 8192}
_COPIED = {"cpu": 1 << 24, "cuda": 1 << 30}
"""Bytes that are copied to measure the bandwidth."""

_PASSES = 5
"""Over an activation: see above."""


@dataclass(frozen=True)
class DeviceRates:
    """FLOP/s of a large product in a precision, and bytes/s of a large copy, read and written bytes counted."""

    products: float
    memory: float


def measure_rates(device: torch.device, precision: Precision) -> DeviceRates:
    """Takes half a second."""
    dtype = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16}[precision]
    size, count = _SIZES[device.type], _COPIED[device.type]
    left, right, out = (torch.ones((size, size), dtype=dtype, device=device) for _ in range(3))
    seconds = mean_seconds(lambda: torch.mm(left, right, out=out), device)
    source, target = (torch.ones(count, dtype=torch.uint8, device=device) for _ in range(2))
    return DeviceRates(2 * size**3 / seconds, 2 * count / mean_seconds(lambda: target.copy_(source), device))


def mean_seconds(action: Callable[[], Any], device: torch.device) -> float:
    """Of one call, the mean of as many as take a fifth of a second, after one that is not counted."""
    action()
    calls = 1
    while True:
        wait(device)
        started = time.perf_counter()
        for _ in range(calls):
            action()
        wait(device)
        seconds = time.perf_counter() - started
        if seconds >= _MIN_SECONDS:
            return seconds / calls
        calls = max(2 * calls, round(1.2 * calls * _MIN_SECONDS / max(seconds, 1e-6)))


def wait(device: torch.device) -> None:
    """Until the device has done everything."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass(frozen=True)
class StepWork:
    """What a step of one model does at least: operations of products and convolutions, bytes of memory passes."""

    operations: float
    update_bytes: float
    activation_bytes: float

    def seconds(self, rates: DeviceRates) -> float:
        """One after the other."""
        return self.operations / rates.products + (self.update_bytes + self.activation_bytes) / rates.memory


@dataclass(frozen=True)
class ModelWork:
    """The same of a model: of an example's presentation and of its evaluation, and of an update."""

    example: ExampleOperations
    weights: int
    activations: int
    """Values behind layers with weights, of one example."""
    precision: Precision
    state: int
    """Numbers that the optimiser keeps for a weight."""

    @property
    def _width(self) -> int:
        return 2 if self.precision == "bfloat16" else 4

    def step(self, batch: int) -> StepWork:
        """An update from a minibatch. A weight's gradient is read, itself and its state are read and written, and in
        bfloat16 its working copy is written: 20 bytes with SGD."""
        copy = 2 if self.precision == "bfloat16" else 0
        a_weight = self._width + 8 + 8 * self.state + copy
        activations = _PASSES * self.activations * batch * self._width
        return StepWork(self.example.training * batch, a_weight * self.weights, activations)

    def evaluation(self, examples: int, passes: int) -> StepWork:
        """Of so many examples: forward passes whose activations are written and read."""
        count = examples * passes
        return StepWork(self.example.forward * count, 0, 2 * self.activations * count * self._width)


def model_work(campaign: Campaign, shape: tuple[int, ...], classes: int, precision: Precision) -> ModelWork:
    """Counted on the CPU, by running the model."""
    model = build_model(campaign.model, shape, classes)
    counts: list[int] = []
    hooks = [
        layer.register_forward_hook(lambda layer, inputs, out: counts.append(out[0].numel()))
        for layer in model.modules()
        if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd)
    ]
    with torch.no_grad():
        model.eval()(torch.zeros((1, *shape)))
    for hook in hooks:
        hook.remove()
    return ModelWork(
        example=example_operations(model, shape),
        weights=sum(each.numel() for each in model.parameters() if each.requires_grad),
        activations=sum(counts),
        precision=precision,
        state=1 if isinstance(campaign.recipe.optimizer, SGD) else 2,
    )
