"""A model's correctness on all training and test examples."""

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from workers.device_data import DeviceData

# Fixed, because the batch's size can change the last bit of a logit; large enough to be efficient everywhere.
_BATCH = 2000


def correctness(model: nn.Module, data: DeviceData, flip: bool) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Does the model, in evaluation mode, predict the given label: bool[N] and bool[T].

    Without augmentation; with `flip` on the mean of the logits of each image and its mirror image. Ties go to the
    lowest class. Logits that are not finite are wrong.
    """
    model.eval()
    with torch.inference_mode():
        return (
            _correct(model, data, data.train_images, data.train_labels, flip),
            _correct(model, data, data.test_images, data.test_labels, flip),
        )


def _correct(
    model: nn.Module, data: DeviceData, images: torch.Tensor, labels: torch.Tensor, flip: bool
) -> npt.NDArray[np.bool_]:
    correct = torch.zeros(len(labels), dtype=torch.bool, device=data.device)
    for start in range(0, len(labels), _BATCH):
        part = slice(start, start + _BATCH)
        inputs = data.scaled(images[part])
        logits = model(inputs)
        if flip:
            logits = (logits + model(inputs.flip(-1))) / 2
        correct[part] = (logits.argmax(dim=1) == labels[part]) & logits.isfinite().all(dim=1)
    return np.asarray(correct.cpu().numpy())
