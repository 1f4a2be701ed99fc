"""Records predictions on examples as training presents them: before the update, in training mode, augmented.

It comes from the logits that training computes anyway. M. Toneva et al., "An empirical study of example forgetting
during deep neural network learning", ICLR 2019, count forgetting events in it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from workers.campaign.campaign import Campaign
from workers.campaign.record import Record
from workers.store.schema import MAX_FLOAT16, PRESENTED_VALUES, presentation_columns
from workers.training.outputs import margin

Presented = Mapping[str, npt.NDArray[Any]]
"""Vectors of an epoch by their column: [K, N] of K runs, or [N] of one."""


def observe(campaign: Campaign, logits: torch.Tensor, labels: torch.Tensor) -> list[torch.Tensor]:
    """The records of a minibatch, [K, B] each: correctness as bool, then probabilities, losses and margins as float16.

    Of logits float32[K, B, C] and labels int64[K, B]. Losses over MAX_FLOAT16 are recorded as that. Nothing where
    nothing is recorded.
    """
    record, smoothing = campaign.record, campaign.recipe.label_smoothing
    if not record.presentations:
        return []
    logits = logits.detach()
    largest, predicted = logits.max(dim=2)
    # As `correct`, in half the time: where a logit is NaN, so is the largest one. Only -inf elsewhere is let pass.
    right = (predicted == labels) & (largest < torch.inf)
    margins = [margin(logits, labels)] if record.presented_margin else []
    if not record.probabilities:
        return [right, *margins]
    logs = logits.log_softmax(dim=2)
    of_label = logs.gather(2, labels[..., None])[..., 0]
    loss = -(1 - smoothing) * of_label - smoothing * logs.mean(dim=2)
    values = (of_label.exp(), logs.amax(dim=2).exp(), loss.clamp(max=MAX_FLOAT16))
    finite = logits.isfinite().all(dim=2)
    return [right, *(value.where(finite, torch.nan).to(torch.float16) for value in values), *margins]


class PresentationRecorder:
    """Collects the records of an epoch of K runs on the device, minibatch by minibatch."""

    def __init__(self, record: Record) -> None:
        self._columns = presentation_columns(record)
        self._observed: list[list[torch.Tensor]] = []

    def add(self, observed: Sequence[torch.Tensor]) -> None:
        """The next minibatch, as `observe` returns it."""
        if self._columns:
            # A CUDA graph's results are overwritten by its next replay.
            self._observed.append([each.clone() if each.is_cuda else each for each in observed])

    def of_examples(self, order: torch.Tensor, num_train: int) -> Presented:
        """[K, N] by column, when run k was shown the examples order[k], of int64[K, n]. Waits for the device."""
        if not self._columns:
            return {}
        order = order.cpu()
        shown = torch.ones(order.shape, dtype=torch.bool)
        values = [shown, *(torch.cat(parts, dim=1).cpu() for parts in zip(*self._observed, strict=True))]
        shape = (len(order), num_train)
        return {
            name: _not_shown(name, shape).scatter_(1, order, value).numpy()
            for name, value in zip(self._columns, values, strict=True)
        }


def fill_slots(epochs: Sequence[Presented], slots: int, columns: Sequence[str], num_train: int) -> Presented:
    """The vectors of a row of results, [slots, N] by column: those of its epochs, and empty slots behind them."""
    empty = slots - len(epochs)
    return {
        name: np.concatenate([*(epoch[name][None] for epoch in epochs), _not_shown(name, (empty, num_train)).numpy()])
        for name in columns
    }


def _not_shown(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    if name in PRESENTED_VALUES:
        return torch.full(shape, torch.nan, dtype=torch.float16)
    return torch.zeros(shape, dtype=torch.bool)
