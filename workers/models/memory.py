"""Estimates the peak memory of a training step or an evaluation before it runs."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from workers.models.operator_mode import OperatorMode

Build = Callable[[], nn.Module]
"""Gives a model of standard layers."""

_SMALL_BATCH = 2


def training_bytes(build: Build, input_shape: tuple[int, ...], batch: int) -> int:
    """The most bytes that training on float32[batch, *input_shape] holds at once: passes, gradients, weights, momentum.

    Taken on torch's meta device, which holds none of them. Attention is counted as if its whole matrix were made, which
    some devices avoid. Random generators stay as they are.
    """
    return max(_live(build, input_shape, batch, training=True, device="meta")) + _states(build)


def evaluation_bytes(build: Build, input_shape: tuple[int, ...], batch: int) -> int:
    """The most bytes that a forward pass in evaluation mode holds at once, beside the weights."""
    return max(_live(build, input_shape, batch, training=False, device="meta"))


def estimated_bytes(build: Build, input_shape: tuple[int, ...], batch: int, *, training: bool) -> int | None:
    """About what `training_bytes` or `evaluation_bytes` give, from passes of few examples on the CPU.

    At each moment the bytes held are taken to grow evenly with the examples. None where the passes differ. Quicker than
    the meta device, whose operators are written in Python and import the compiler, torch._dynamo: two seconds.
    """
    few, more = (
        _live(build, input_shape, count, training=training, device="cpu") for count in (_SMALL_BATCH, 2 * _SMALL_BATCH)
    )
    if len(few) != len(more):
        return None
    most = max(
        one + (other - one) * (batch - _SMALL_BATCH) // _SMALL_BATCH for one, other in zip(few, more, strict=True)
    )
    return most + (_states(build) if training else 0)


def parameter_count(build: Build) -> int:
    """Of a model that is not made."""
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        return sum(parameter.numel() for parameter in build().parameters())


def _states(build: Build) -> int:
    """Bytes of the weights and of their momentum."""
    return 2 * 4 * parameter_count(build)


def _live(build: Build, input_shape: tuple[int, ...], batch: int, *, training: bool, device: str) -> list[int]:
    """Bytes held, after each change of them, while a model is called, and in training its gradients are computed."""
    with torch.device(device), torch.random.fork_rng(devices=[]), torch.set_grad_enabled(training):
        model = build().train(training)
        live = _LiveBytes(model)
        with live:
            output = model(torch.zeros(batch, *input_shape))
            if training:
                output.logsumexp(dim=1).sum().backward()
        return live.held


class _LiveBytes(OperatorMode):
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
