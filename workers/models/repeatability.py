"""Checks that a model function is repeatable: the same seed gives the same model."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from workers.errors import ModelError

SEED = 0
_BATCH = 2
_MAX_TENSORS = 64
"""Number of tensors of a model whose first values identify it."""

_RULE = (
    "draw with torch's, NumPy's or Python's global generator, which each run seeds, not by the time, by a generator "
    "without a seed or in the order of a set, and keep nothing from one call to the next"
)


def build_seeded(build: Callable[[], nn.Module]) -> nn.Module:
    """A model under a fixed seed; torch's generator stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return build()


def check_repeatable(name: str, build: Callable[[], nn.Module], input_shape: tuple[int, ...]) -> None:
    """Check that two models under one seed start with the same bits, and compute the same.

    Compared are parameters, buffers, and the output in evaluation mode for one batch under one seed of torch's. Raises
    ModelError, which `name` opens and which says what to draw with.
    """
    one, other = build_seeded(build), build_seeded(build)
    if one is other or _memory(one) & _memory(other):
        raise ModelError(f"{name}: returns the same weights at each call, so runs would share them: {_RULE}")
    first, second = _tensors(one), _tensors(other)
    different = [
        key
        for key in first.keys() | second.keys()
        if key not in first or key not in second or not _equal(first[key], second[key])
    ]
    if different:
        raise ModelError(f"{name}: returns a different {min(different)} at each call with the same seed: {_RULE}")
    if not _equal(*(_output(model, input_shape) for model in (one, other))):
        raise ModelError(f"{name}: computes a different output at each call with the same seed: {_RULE}")


def starting_values_of(build: Callable[[], nn.Module]) -> tuple[float, ...]:
    """Values that identify a model built under a fixed seed: its size, and the first values of its first tensors."""
    model = build_seeded(build)
    tensors = [each for each in _tensors(model).values() if each.is_floating_point() and each.numel()]
    size = sum(parameter.numel() for parameter in model.parameters())
    return (float(size), *(float(tensor.detach().flatten()[0]) for tensor in tensors[:_MAX_TENSORS]))


def compare_starting_values(name: str, build: Callable[[], nn.Module], known: Sequence[float], uri: str) -> None:
    """Check that a model function still gives the models that a store was made with, up to rounding.

    Raises ModelError: its code has changed, or what it draws by differs between processes.
    """
    now = starting_values_of(build)
    if len(now) != len(known) or not np.allclose(now, known, rtol=1e-3, atol=1e-6):
        raise ModelError(
            f"{name}: returns different models than when {uri} was created: its code changed, or it depends "
            "on the process (the order of a set, which PYTHONHASHSEED fixes; files of this machine)"
        )


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _memory(model: nn.Module) -> set[int]:
    return {parameter.data_ptr() for parameter in model.parameters() if parameter.requires_grad and parameter.numel()}


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


def _output(model: nn.Module, input_shape: tuple[int, ...]) -> torch.Tensor:
    images = torch.rand((_BATCH, *input_shape), generator=torch.Generator().manual_seed(SEED))
    model.eval()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        output: torch.Tensor = model(images)
    return output
