"""Estimates the peak memory of a training step or an evaluation before it runs."""

import weakref
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from workers.models.operator_mode import OperatorMode

Build = Callable[[], nn.Module]
"""Gives a model of standard layers."""

_Measured = Literal["training", "activations", "evaluation"]
"""A forward and a backward pass; the same with each gradient of a weight freed at once; a forward pass."""

_SMALL_BATCH = 2


def training_bytes(build: Build, input_shape: tuple[int, ...], batch: int) -> int:
    """The most bytes that training on float32[batch, *input_shape] holds at once: passes, gradients, weights, momentum.

    Taken on torch's meta device, which holds none of them. Attention is counted as if its whole matrix were made, which
    some devices avoid. Random generators stay as they are.
    """
    return max(_live(build, input_shape, batch, "training", device="meta")) + _states(build)


def evaluation_bytes(build: Build, input_shape: tuple[int, ...], batch: int) -> int:
    """The most bytes that a forward pass in evaluation mode holds at once, beside the weights."""
    return max(_live(build, input_shape, batch, "evaluation", device="meta"))


def estimated_bytes(build: Build, input_shape: tuple[int, ...], batch: int, *, training: bool) -> int | None:
    """About what `training_bytes` or `evaluation_bytes` give, from passes of few examples on the CPU.

    At each moment the bytes held are taken to grow evenly with the examples. None where the passes differ. Quicker than
    the meta device, whose operators are written in Python and import the compiler, torch._dynamo: two seconds.
    """
    most = _from_few_examples(build, input_shape, batch, "training" if training else "evaluation")
    return None if most is None else most + (_states(build) if training else 0)


def activation_bytes(build: Build, input_shape: tuple[int, ...], batch: int, *, simulated: bool) -> int:
    """The most bytes that a minibatch holds in training, beside weights and their gradients: about.

    `simulated`: on the meta device; else from passes of few examples on the CPU, as `estimated_bytes`.
    """
    if not simulated:
        estimate = _from_few_examples(build, input_shape, batch, "activations")
        if estimate is not None:
            return estimate
    return max(_live(build, input_shape, batch, "activations", device="meta"))


def parameter_count(build: Build) -> int:
    """Of a model that is not made."""
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        return sum(parameter.numel() for parameter in build().parameters())


def _states(build: Build) -> int:
    """Bytes of the weights and of their momentum."""
    return 2 * 4 * parameter_count(build)


def _from_few_examples(build: Build, input_shape: tuple[int, ...], batch: int, measured: _Measured) -> int | None:
    """The most bytes held, if at each moment they grow evenly with the examples; None where two passes differ."""
    few, more = (_live(build, input_shape, count, measured, device="cpu") for count in (_SMALL_BATCH, 2 * _SMALL_BATCH))
    if len(few) != len(more):
        return None
    return max(
        one + (other - one) * (batch - _SMALL_BATCH) // _SMALL_BATCH for one, other in zip(few, more, strict=True)
    )


def _live(
    build: Build, input_shape: tuple[int, ...], batch: int, measured: _Measured, device: Literal["cpu", "meta"]
) -> list[int]:
    """Bytes held, after each change of them, while a model is called, and in training its gradients are computed."""
    training = measured != "evaluation"
    with torch.device(device), torch.random.fork_rng(devices=[]), torch.set_grad_enabled(training):
        model = build().train(training)
        if measured == "activations":
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.register_post_accumulate_grad_hook(_free_gradient)  # type: ignore[no-untyped-call]
        live = LiveBytes(model)
        with live:
            output = model(torch.zeros(batch, *input_shape))
            if training:
                output.logsumexp(dim=1).sum().backward()
        return live.held


def _free_gradient(parameter: torch.Tensor) -> None:
    parameter.grad = None


class LiveBytes(OperatorMode):
    """Counts the bytes of the tensors that operators make, until they are freed; the model's own are not counted."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._given = {each.untyped_storage()._cdata for each in (*model.parameters(), *model.buffers())}
        self.held = [0]
        """After each change."""
        self._live: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(output):
            if isinstance(leaf, torch.Tensor):
                self._add(leaf.untyped_storage())
        return output

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._live and key not in self._given:  # views share their tensor's storage
            self._live[key] = weakref.ref(storage, lambda _: self._remove(key, size))
            self.held.append(self.held[-1] + size)

    def _remove(self, key: int, size: int) -> None:
        del self._live[key]
        self.held.append(self.held[-1] - size)
