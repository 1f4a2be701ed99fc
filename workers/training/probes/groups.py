"""Counts the correct predictions of a model, or of variants of it, in each group of examples."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from workers.common.arrays import Int32s, Integers
from workers.training.evaluation import Predict, correct, evaluate
from workers.training.probes.base import Subject

EVALUATION_BATCH = 500
"""Fixed, because it can change the last bit of a logit. On a CPU larger ones were no faster."""


def group_of_examples(subject: Subject) -> Integers:
    """int64[N]: the place in `ProbeShape.groups` of each training example: 0, 1 (in the split) or 2 (held out)."""
    return np.where(subject.subset, np.where(subject.split, 1, 0), 2)


def group_members(subject: Subject) -> Sequence[Integers]:
    """Of each of `ProbeShape.groups` the indices, ascending: of training examples, and at last of test examples."""
    groups = group_of_examples(subject)
    return [*((groups == place).nonzero()[0] for place in range(3)), np.arange(len(subject.data.test_labels))]


def count_right(subject: Subject, predict: Predict, count: int = 1) -> Int32s:
    """Predictions that are the given label, int32[count, group], of `count` models (see `Predict`).

    Evaluated as the campaign's recipe does, with or without mirror images, in minibatches of a fixed size.
    """
    flip = subject.shape.campaign.recipe.evaluation_flip
    seen = evaluate(predict, count, subject.data, flip, EVALUATION_BATCH)
    groups = group_of_examples(subject)
    right = [np.count_nonzero(seen.train_correct[:, groups == place], axis=1) for place in range(3)]
    return np.stack([*right, np.count_nonzero(seen.test_correct, axis=1)], axis=1).astype(np.int32)


def count_right_of(subject: Subject, model: nn.Module) -> Int32s:
    """The same of one model in evaluation mode: int32[group]."""
    counts: Int32s = count_right(subject, lambda images: model(laid_out(images)).float()[None])[0]
    return counts


def count_right_among(subject: Subject, model: nn.Module, members: Sequence[Integers]) -> Int32s:
    """The same of some examples of each group, as `group_members` gives them: int32[group]."""
    data, right = subject.data, np.zeros(len(members), dtype=np.int32)
    flip = subject.shape.campaign.recipe.evaluation_flip
    sources = [(data.train_images, data.train_labels)] * 3 + [(data.test_images, data.test_labels)]
    for place, (examples, (images, labels)) in enumerate(zip(members, sources, strict=True)):
        start = 0
        for raw in images.minibatches(examples, EVALUATION_BATCH):
            index = torch.from_numpy(examples[start : (start := start + len(raw))]).to(data.device)
            inputs = laid_out(data.scaled(raw))
            with torch.no_grad():
                logits = model(inputs).float()
                logits = (logits + model(laid_out(inputs.flip(-1))).float()) / 2 if flip else logits
            right[place] += int(correct(logits[None], labels[index]).sum())
    return right


def trained_model(subject: Subject) -> nn.Module:
    """The trained model, new, in evaluation mode, and in the layout in which convolutions are quick."""
    model = subject.build()
    return model.to(memory_format=torch.channels_last) if len(subject.data.input_shape) == 3 else model


def laid_out(images: torch.Tensor) -> torch.Tensor:
    """Inputs in the layout in which convolutions are quick: images channels last, as in training."""
    return images.contiguous(memory_format=torch.channels_last) if images.ndim == 4 else images
