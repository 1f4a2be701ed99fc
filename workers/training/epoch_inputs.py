"""Copies the order and augmentation of a stack's next epoch to the device, without waiting for it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from workers.training.minibatch_streams import Epoch


@dataclass(frozen=True)
class EpochInputs:
    """An epoch of K runs: the order of their examples, and the augmentation."""

    indices: npt.NDArray[np.int64]
    """int64[K, n], on the host."""
    order: torch.Tensor
    """The same on the device."""
    changes: torch.Tensor | None
    """int64[DRAWS, K, n] on the device, where images are augmented."""


def upload(epochs: Sequence[Epoch], device: torch.device) -> EpochInputs:
    """The inputs of each run's next epoch, as drawn by its streams, on the device."""
    orders, changes = zip(*epochs, strict=True)
    indices = np.stack(orders)
    on_device = None if changes[0] is None else _copied(np.stack(changes, axis=1), device)
    return EpochInputs(indices, _copied(indices, device), on_device)


def _copied(values: npt.NDArray[np.int64], device: torch.device) -> torch.Tensor:
    """Through pinned memory for a GPU: the copy stands in its queue behind what it has still to do."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
