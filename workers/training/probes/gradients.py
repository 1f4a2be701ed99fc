"""Gradient accounting (Maini et al. 2023, section 4.1): of each epoch and tensor the gradients of both groups, summed.

With g_c = 1/B sum over the clean examples of a minibatch of the gradients of their losses, g_n likewise over the noisy
ones (or the typical and the atypical ones: see `DeviceData.split`), at the weights of that step: G_c and G_n are the
sums of these vectors over the minibatches of an epoch. Recorded are |G_c|^2, |G_n|^2 and G_c . G_n of each tensor: from
them follow the norms and cosines of tensors, layers, networks.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run
from workers.models.stacking import Weight
from workers.store.probe_columns import ProbeColumn, axis
from workers.training.probes.base import ProbeShape, Subject

COLUMN = "probe_gradients"


class GradientAccounting:
    """A probe that is measured in training itself: the trainer's `GradientSums` fill its column."""

    kept_epochs: Sequence[int] = ()

    def columns(self, shape: ProbeShape) -> Sequence[ProbeColumn]:
        """`probe_gradients`, float32 [epoch, tensor, sum]: NaN from the epoch on in which a run diverged."""
        axes = (
            axis("epoch", range(1, shape.campaign.recipe.epochs + 1)),
            axis("tensor", shape.tensors),
            axis("sum", [*(f"{name}_squared" for name in shape.groups[:2]), "product"]),
        )
        return (ProbeColumn(name=COLUMN, dtype="float32", axes=axes),)

    def units(self, shape: ProbeShape) -> int:
        """0: nothing is measured after training."""
        return 0

    def measure(self, unit: int, subject: Subject, values: Mapping[str, npt.NDArray[Any]]) -> None:
        """Never called."""
        raise NotImplementedError


class GradientSums:
    """Sums the gradients of K models over an epoch, in float32 buffers beside the weights."""

    def __init__(self, weights: Sequence[Weight], count: int, order: Sequence[str]) -> None:
        """`weights` are [K, ...], or those of one model; `order`: the tensors' names in the order of the column."""
        places = {weight.name: place for place, weight in enumerate(weights)}
        self._places = [places.get(name) for name in order]
        self._count = count
        self._all = [torch.zeros_like(weight.master) for weight in weights]
        self._split = [torch.zeros_like(weight.master) for weight in weights]

    def add(self, minibatch: Sequence[torch.Tensor | None], split: Sequence[torch.Tensor | None]) -> None:
        """The gradients of a minibatch: of all its examples, and of the split. In place, on the device alone."""
        with torch.no_grad():
            for totals, gradients in ((self._all, minibatch), (self._split, split)):
                for total, gradient in zip(totals, gradients, strict=True):
                    if gradient is not None:
                        total.add_(gradient)

    def end_epoch(self) -> npt.NDArray[np.float32]:
        """float32[K, tensors, 3]: the sums of the epoch that ends; the next one starts from 0. Waits for the device."""
        zero = torch.zeros((self._count, 3), dtype=torch.float64)
        rows = [zero if place is None else self._sums(place) for place in self._places]
        for total in (*self._all, *self._split):
            total.zero_()
        return torch.stack(rows, dim=1).float().numpy()

    def _sums(self, place: int) -> torch.Tensor:
        """float64[K, 3] of a tensor. In double precision, because G_c is a difference of sums that nearly cancel."""
        split = self._split[place].reshape(self._count, -1).double()
        others = self._all[place].reshape(self._count, -1).double() - split
        pairs = ((others, others), (split, split), (others, split))
        return torch.stack([(a * b).sum(dim=1) for a, b in pairs], dim=1).cpu()


def gradient_sums(
    campaign: Campaign, runs: Sequence[Run], weights: Sequence[Weight], order: Sequence[str]
) -> GradientSums | None:
    """The sums of a trainer of these runs; None where the campaign records them of none of the runs."""
    probes = campaign.record.probes
    if probes is None or not probes.gradients or all(run.repetition >= probes.repetitions for run in runs):
        return None
    return GradientSums(weights, len(runs), order)
