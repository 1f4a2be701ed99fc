"""Dropped memorization channels (Maini et al. 2023, section 6): correctness in every mode of
example-tied dropout."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from workers.campaign.stage_dropout import ExampleTied
from workers.common.arrays import Bools
from workers.errors import CampaignError
from workers.models.stage_dropout import MODES, example_tied, set_mode, show_examples
from workers.store.probe_columns import ProbeColumn, axis
from workers.training.evaluation import correct, evaluate
from workers.training.probes.base import ProbeShape, Subject
from workers.training.probes.columns import probe_column
from workers.training.probes.groups import EVALUATION_BATCH, group_members, laid_out, trained_model

_RIGHT = "probe_dropout_right"
_CORRECT = "probe_dropout_correct"
_BEFORE = MODES[1:]
"""Modes in which nothing is dropped. Correctness in mode `drop` is the run's own, recorded by every run."""


class DropoutModes:
    """Column `probe_dropout_right`, int32 [mode, group]: right predictions, in modes `drop`, `scaled` and `own`.

    And `probe_dropout_correct`, bool [mode, example]: correctness on every training example in `scaled` and `own`; what
    is right there and wrong in the run's own correctness was lost by dropping. In `own`, where each training example
    has the channels that it is tied to, test examples have none and are -1.
    """

    kept_epochs: Sequence[int] = ()

    def columns(self, shape: ProbeShape) -> Sequence[ProbeColumn]:
        """See `Probe.columns`."""
        if not isinstance(shape.campaign.model.stage_dropout, ExampleTied):
            raise CampaignError(
                "record.probes.dropout: needs a model with example-tied dropout "
                "(model.stage_dropout: {name: example-tied})"
            )
        modes, before = axis("mode", MODES), axis("mode", _BEFORE)
        return [
            probe_column(_RIGHT, "int32", (modes, axis("group", shape.groups)), field="record.probes.dropout"),
            probe_column(_CORRECT, "bool", (before, axis("example", shape.num_train)), field="record.probes.dropout"),
        ]

    def units(self, shape: ProbeShape) -> int:
        """See `Probe.units`: one for each mode."""
        return len(MODES)

    def measure(self, unit: int, subject: Subject, values: Mapping[str, npt.NDArray[Any]]) -> None:
        """See `Probe.measure`."""
        model, mode = trained_model(subject), MODES[unit]
        set_mode(model, mode)
        *train_groups, _ = group_members(subject)
        right = values[_RIGHT][unit]
        if mode == "own":
            train = _own_correct(subject, model)
        else:
            flip = subject.shape.campaign.recipe.evaluation_flip
            seen = evaluate(lambda x: _logits(model, x), 1, subject.data, flip, EVALUATION_BATCH)
            train = seen.train_correct[0]
            right[-1] = np.count_nonzero(seen.test_correct)
        right[:-1] = [np.count_nonzero(train[members]) for members in train_groups]
        if mode in _BEFORE:
            values[_CORRECT][_BEFORE.index(mode)] = train


def _own_correct(subject: Subject, model: nn.Module) -> Bools:
    """bool[N]: correctness on each training example with the channels that it is tied to."""
    data, tied = subject.data, example_tied(model)
    is_correct = torch.empty(len(data.train_labels), dtype=torch.bool, device=data.device)
    every = torch.arange(len(is_correct), device=data.device)
    start = 0
    with torch.inference_mode():
        for raw in data.train_images.minibatches(np.arange(len(is_correct)), EVALUATION_BATCH):
            part = slice(start, start := start + len(raw))
            show_examples(tied, every[part])
            images = data.scaled(raw)
            logits = _logits(model, images)
            if subject.shape.campaign.recipe.evaluation_flip:
                logits = (logits + _logits(model, images.flip(-1))) / 2
            is_correct[part] = correct(logits, data.train_labels[part])[0]
    return is_correct.cpu().numpy()


def _logits(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """float32[1, B, num_classes]."""
    logits: torch.Tensor = model(laid_out(images)).float()[None]
    return logits
