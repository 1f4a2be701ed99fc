"""How much memory a training step or an evaluation takes, found out without taking it: on torch's meta device."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def training_bytes(build: Callable[[], nn.Module], input_shape: tuple[int, ...], batch: int) -> int:
    """The most bytes that training on float32[batch, *input_shape] holds at once: passes, gradients, weights, momentum.

    Attention is counted as if its whole matrix were made, which some devices
    avoid. `build` gives a model of standard layers; random generators stay as they are.
    """
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        model = build().train()
        live = _LiveBytes(model)
        with live:
            model(torch.empty(batch, *input_shape)).logsumexp(dim=1).sum().backward()
        return live.most + 2 * 4 * sum(each.numel() for each in model.parameters())


def evaluation_bytes(build: Callable[[], nn.Module], input_shape: tuple[int, ...], batch: int) -> int:
    """The most bytes that a forward pass in evaluation mode holds at once, beside the weights."""
    with torch.device("meta"), torch.random.fork_rng(devices=[]), torch.no_grad():
        model = build().eval()
        live = _LiveBytes(model)
        with live:
            model(torch.empty(batch, *input_shape))
        return live.most


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that operators make, until they are freed; the model's own are not counted."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._given = {each.untyped_storage()._cdata for each in (*model.parameters(), *model.buffers())}
        self.most: int = 0
        self._now: int = 0
        self._live: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        for each in tree_leaves(output):
            if isinstance(each, torch.Tensor):
                self._add(each.untyped_storage())
        return output

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._live and key not in self._given:  # views share their tensor's storage
            self._live[key] = weakref.ref(storage, lambda _: self._remove(key, size))
            self._now += size
            self.most = max(self.most, self._now)

    def _remove(self, key: int, size: int) -> None:
        del self._live[key]
        self._now -= size
