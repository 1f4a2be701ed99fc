"""Evaluates models on all training and test examples: correctness and outputs, in one pass over each."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from workers.common.arrays import Bools
from workers.store.output_columns import OutputColumn
from workers.training.device_data import DeviceData
from workers.training.out_of_memory import is_out_of_memory, release_cached_blocks
from workers.training.outputs import OUTPUTS
from workers.training.pixel_sources import PixelSource

Predict = Callable[[torch.Tensor], torch.Tensor]
"""K models in evaluation mode: float32[B, ...] to logits [K, B, num_classes]."""

_FEWEST = 16
"""Images at a time, below which an evaluation would take too long."""


@dataclass(frozen=True)
class Evaluation:
    """K models' correctness, bool[K, N] and bool[K, T]; their outputs [K, N] and [K, T] by column."""

    train_correct: Bools
    test_correct: Bools
    outputs: Mapping[str, npt.NDArray[Any]]

    def outputs_of(self, k: int) -> dict[str, npt.NDArray[Any]]:
        """Those of one model, [N] and [T]."""
        return {name: values[k] for name, values in self.outputs.items()}


def evaluate(
    predict: Predict, count: int, data: DeviceData, flip: bool, batch: int, columns: Sequence[OutputColumn] = ()
) -> Evaluation:
    """Whether `count` models predict the given label, and the outputs that `columns` request.

    Without augmentation; with `flip` on the mean of the logits of each image and its mirror image. Ties go to the
    lowest class. Logits that are not finite are wrong. A batch's size can change the last bit of a logit; it is halved
    where memory is exhausted.
    """
    predict = _WithinMemory(predict)
    outputs: dict[str, npt.NDArray[Any]] = {}
    splits = {"train": (data.train_images, data.train_labels), "test": (data.test_images, data.test_labels)}
    with torch.inference_mode():
        for split, (images, labels) in splits.items():
            requested = [column for column in columns if column.split == split]
            shape = (count, len(labels))
            right = torch.zeros(shape, dtype=torch.bool, device=data.device)
            values = {
                column.name: torch.zeros(shape, dtype=OUTPUTS[column.output][1], device=data.device)
                for column in requested
            }
            for part, logits in _batches(predict, data, images, flip, batch):
                right[:, part] = correct(logits, labels[part])
                for column in requested:
                    values[column.name][:, part] = OUTPUTS[column.output][0](logits, labels[part])
            outputs |= {f"{split}_correct": right.cpu().numpy()}
            outputs |= {name: tensor.cpu().numpy() for name, tensor in values.items()}
    return Evaluation(outputs.pop("train_correct"), outputs.pop("test_correct"), outputs)


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
            except (RuntimeError, MemoryError) as error:
                if size <= _FEWEST or not is_out_of_memory(error):
                    raise
                self.limit = -(-size // 2)
            release_cached_blocks(images.device)


def correct(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Whether the label's logit is largest: float[K, B, C] and int64[B] to bool[K, B]. Ties go to the lowest class."""
    return (logits.argmax(dim=2) == labels) & logits.isfinite().all(dim=2)


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
