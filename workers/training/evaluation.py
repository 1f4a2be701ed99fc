"""Evaluates models on all training and test examples: correctness and margins, in one pass over each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from workers.common.arrays import Bools, Float16s
from workers.store.schema import MAX_FLOAT16
from workers.training.device_data import DeviceData
from workers.training.out_of_memory import is_out_of_memory, release_cached_blocks
from workers.training.pixel_sources import PixelSource

Predict = Callable[[torch.Tensor], torch.Tensor]
"""K models in evaluation mode: float32[B, ...] to logits [K, B, num_classes]."""

_FEWEST = 16
"""Images at a time, below which an evaluation would take too long."""


@dataclass(frozen=True)
class Evaluation:
    """K models' correctness, bool[K, N] and bool[K, T]; their margins, float16[K, T], where they are recorded."""

    train_correct: Bools
    test_correct: Bools
    test_margin: Float16s | None


def evaluate(predict: Predict, count: int, data: DeviceData, flip: bool, batch: int, margins: bool) -> Evaluation:
    """Whether `count` models predict the given label, and with `margins` by how much on the test examples.

    Without augmentation; with `flip` on the mean of the logits of each image and its mirror image. Ties go to the
    lowest class. Logits that are not finite are wrong. A batch's size can change the last bit of a logit; it is halved
    where memory is exhausted.
    """
    predict = _WithinMemory(predict)
    with torch.inference_mode():
        train = torch.zeros((count, len(data.train_labels)), dtype=torch.bool, device=data.device)
        for part, logits in _batches(predict, data, data.train_images, flip, batch):
            train[:, part] = correct(logits, data.train_labels[part])
        test = torch.zeros((count, len(data.test_labels)), dtype=torch.bool, device=data.device)
        by = torch.zeros(test.shape if margins else (0,), dtype=torch.float16, device=data.device)
        for part, logits in _batches(predict, data, data.test_images, flip, batch):
            test[:, part] = correct(logits, data.test_labels[part])
            if margins:
                by[:, part] = margin(logits, data.test_labels[part])
    return Evaluation(train.cpu().numpy(), test.cpu().numpy(), by.cpu().numpy() if margins else None)


class _WithinMemory:
    """Calls `predict` on as many images at a time as the device has memory for."""

    def __init__(self, predict: Predict) -> None:
        self.predict = predict
        self.limit: int | None = None
        """Images at a time, once memory was exhausted."""

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        while True:
            size = min(len(images), self.limit or len(images))
            try:
                logits = [self.predict(part) for part in torch.split(images, size)]
                return logits[0] if len(logits) == 1 else torch.cat(logits, dim=1)
            except RuntimeError as error:
                if size <= _FEWEST or not is_out_of_memory(error):
                    raise
                self.limit = -(-size // 2)
            release_cached_blocks(images.device)


def correct(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Whether the label's logit is largest: float[K, B, C] and int64[B] to bool[K, B]. Ties go to the lowest class."""
    return (logits.argmax(dim=2) == labels) & logits.isfinite().all(dim=2)


def margin(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The label's logit less the largest other one: float[K, B, C] and int64[B] to float16[K, B].

    Held within the finite range of float16; NaN where a logit is not finite. Positive only where the label is
    predicted, negative only where it is not.
    """
    index = labels.expand(len(logits), -1)[..., None]
    others = logits.scatter(2, index, -torch.inf).amax(dim=2)
    exact = logits.gather(2, index)[..., 0] - others
    exact = exact.clamp(-MAX_FLOAT16, MAX_FLOAT16).where(logits.isfinite().all(dim=2), torch.nan)
    return exact.to(torch.float16)


def _batches(
    predict: Predict, data: DeviceData, images: PixelSource, flip: bool, batch: int
) -> Iterator[tuple[slice, torch.Tensor]]:
    """(which examples, their logits [K, B, C]), in order."""
    start = 0
    for raw in images.minibatches(np.arange(len(images)), batch):
        part = slice(start, start := start + len(raw))
        inputs = data.scaled(raw)
        logits = predict(inputs)
        yield part, (logits + predict(inputs.flip(-1))) / 2 if flip else logits
