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
from workers.store.schema import (
    MAX_FLOAT16,
    PRESENTED,
    PRESENTED_MARGIN,
    PRESENTED_VALUES,
    PROBABILITIES,
    presentation_columns,
)
from workers.training.outputs import error_norm, margin

ERROR_NORM = "presented_error_norm"
"""Observed for training statistics, and not recorded by itself."""

Presented = Mapping[str, npt.NDArray[Any]]
"""Vectors of an epoch by their column: [K, N] of K runs, or [N] of one."""


def observed_columns(record: Record) -> tuple[str, ...]:
    """What is observed of a minibatch, in order: what is recorded of presentations, or training statistics need."""
    if record.training_statistics:
        return (*PRESENTED, *PROBABILITIES, PRESENTED_MARGIN, ERROR_NORM)
    return presentation_columns(record)


def observe(campaign: Campaign, logits: torch.Tensor, labels: torch.Tensor) -> list[torch.Tensor]:
    """The `observed_columns` of a minibatch but the first, [K, B] each: correctness as bool, other values as float16.

    Of logits float32[K, B, C] and labels int64[K, B]. Losses over MAX_FLOAT16 are recorded as that. Nothing where
    nothing is recorded.
    """
    columns, smoothing = observed_columns(campaign.record), campaign.recipe.label_smoothing
    if not columns:
        return []
    logits = logits.detach()
    largest, predicted = logits.max(dim=2)
    # As `correct`, in half the time: where a logit is NaN, so is the largest one. Only -inf elsewhere is let pass.
    right = (predicted == labels) & (largest < torch.inf)
    margins = [margin(logits, labels)] if PRESENTED_MARGIN in columns else []
    if PROBABILITIES[0] not in columns:
        return [right, *margins]
    logs = logits.log_softmax(dim=2)
    of_label = logs.gather(2, labels[..., None])[..., 0]
    loss = -(1 - smoothing) * of_label - smoothing * logs.mean(dim=2)
    finite = logits.isfinite().all(dim=2)

    def recorded(value: torch.Tensor) -> torch.Tensor:
        return value.where(finite, torch.nan).to(torch.float16)

    values = map(recorded, (of_label.exp(), logs.amax(dim=2).exp(), loss.clamp(max=MAX_FLOAT16)))
    norms = [recorded(error_norm(logs, labels))] if ERROR_NORM in columns else []
    return [right, *values, *margins, *norms]


class PresentationRecorder:
    """Collects the records of an epoch of K runs on the device, minibatch by minibatch."""

    def __init__(self, record: Record) -> None:
        self._columns = observed_columns(record)
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
    if name in PRESENTED_VALUES or name == ERROR_NORM:
        return torch.full(shape, torch.nan, dtype=torch.float16)
    return torch.zeros(shape, dtype=torch.bool)
