"""Models' correctness on all training and test examples."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from workers.device_data import DeviceData
from workers.pixels import Pixels

Bits = npt.NDArray[np.bool_]

Predict = Callable[[torch.Tensor], torch.Tensor]
"""K models in evaluation mode: float32[B, ...] to logits [K, B, num_classes]."""


def correctness(predict: Predict, count: int, data: DeviceData, flip: bool, batch: int) -> tuple[Bits, Bits]:
    """Do `count` models predict the given label: bool[K, N] and bool[K, T].

    Without augmentation; with `flip` on the mean of the logits of each image and its mirror image. Ties go to the
    lowest class. Logits that are not finite are wrong. A batch's size can change the last bit of a logit.
    """
    with torch.inference_mode():
        return (
            _correct(predict, count, data, data.train_images, data.train_labels, flip, batch),
            _correct(predict, count, data, data.test_images, data.test_labels, flip, batch),
        )


def _correct(
    predict: Predict, count: int, data: DeviceData, images: Pixels, labels: torch.Tensor, flip: bool, batch: int
) -> Bits:
    correct = torch.zeros((count, len(labels)), dtype=torch.bool, device=data.device)
    start = 0
    for raw in images.minibatches(np.arange(len(labels)), batch):
        part = slice(start, start := start + len(raw))
        inputs = data.scaled(raw)
        logits = predict(inputs)
        if flip:
            logits = (logits + predict(inputs.flip(-1))) / 2
        correct[:, part] = (logits.argmax(dim=2) == labels[part]) & logits.isfinite().all(dim=2)
    return np.asarray(correct.cpu().numpy())
