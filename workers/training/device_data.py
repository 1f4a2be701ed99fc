"""A data set on the training device: raw pixels, scaled when a minibatch is gathered."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from workers.campaign.campaign import Campaign
from workers.common.arrays import Floats
from workers.datasets import Dataset
from workers.errors import CampaignError
from workers.subsets.explicit import ScoredExamples
from workers.subsets.masks import SubsetMasks
from workers.training.pixel_sources import PixelSource, ResidentPixels, StreamedPixels

_STATISTICS_CHUNK = 4096
_SCALED_BYTES = 1 << 28
"""Every worker on a machine holds its own scaled images, while the stored ones are shared."""


@dataclass(frozen=True)
class DeviceData:
    """Images as stored (uint8 or float32) and int64 labels [N] and [T]; x = (pixel - shift) * scale.

    train_labels are the labels given to the models: they include the campaign's label noise.
    """

    train_images: PixelSource
    train_labels: torch.Tensor
    test_images: PixelSource
    test_labels: torch.Tensor
    shift: torch.Tensor | None
    """None: 0."""
    scale: torch.Tensor | None
    """None: 1, and the images are floats already."""
    fill: torch.Tensor
    num_classes: int
    split: torch.Tensor
    """bool[N] on the device: the examples that probes compare with the others: the atypical ones of the campaign's
    split, or without one those whose given label is not the data set's."""
    subset_source: ScoredExamples | SubsetMasks | None = None
    """What explicit subsets go by, or masks, on the host; None under the other designs."""
    curriculum_scores: Floats | None = None
    """float64[N] on the host, by which partitions that take turns are formed; None where they are random."""

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.train_images.device

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one model input."""
        return self.train_images.shape

    def scaled(self, images: torch.Tensor) -> torch.Tensor:
        """Stored images [B, ...] as float32 model inputs of the same shape (or in the dtype of `scaled_once`)."""
        if self.scale is None:
            return images
        scaled = images.float()
        if self.shift is not None:
            scaled = scaled - self.shift
        return scaled * self.scale

    def scaled_once(self, dtype: torch.dtype) -> "DeviceData":
        """The same data with images that are model inputs in this dtype already; itself where they would be large."""
        images = (self.train_images, self.test_images)
        size = sum(math.prod((len(image), *image.shape)) for image in images) * dtype.itemsize
        if size > _SCALED_BYTES or not all(isinstance(image, ResidentPixels) for image in images):
            return self
        train, test = (self._inputs(image, dtype) for image in images)
        return replace(self, train_images=train, test_images=test, shift=None, scale=None)

    def with_split(self, split: npt.NDArray[np.bool_] | None) -> "DeviceData":
        """The same data with the atypical examples, bool[N], in place of the noisy ones; None: as it is."""
        return self if split is None else replace(self, split=torch.tensor(split, device=self.device))

    def with_masks(self, masks: SubsetMasks | None) -> "DeviceData":
        """The same data with the campaign's masks; None: as it is."""
        return self if masks is None else replace(self, subset_source=masks)

    def with_curriculum_scores(self, scores: Floats | None) -> "DeviceData":
        """The same data with float64[N] scores of partitions that take turns; None: without."""
        return replace(self, curriculum_scores=scores)

    def _inputs(self, images: PixelSource, dtype: torch.dtype) -> PixelSource:
        inputs = torch.empty((len(images), *images.shape), dtype=dtype, device=self.device)
        start = 0
        for raw in images.minibatches(np.arange(len(images)), _STATISTICS_CHUNK):
            inputs[start : (start := start + len(raw))] = self.scaled(raw)
        return ResidentPixels(inputs)


def load_on_device(
    dataset: Dataset,
    campaign: Campaign,
    given_labels: npt.NDArray[np.int64],
    device: torch.device,
    *,
    scores: Mapping[str, Floats] | None = None,
    streamed: bool | None = None,
) -> DeviceData:
    """Put a data set on a device, with the campaign's given labels (int64[N]) and input scaling.

    `scores` (float64[N] by the name of their column) are those that explicit subsets go by. The split is that of noisy
    labels: see `with_split`.
    `streamed` images stay on the host; by default where they would take more than half of the device's free memory.
    Raises CampaignError where the recipe does not fit the data (augmentation of features, cutout larger than an image).
    """
    check_augmentation(dataset, campaign)
    mean, std = _channel_statistics(dataset)
    if campaign.recipe.input_scaling == "standardize":
        shift, scale = mean, 1 / np.where(std > 0, std, 1)
    else:
        shift, scale = np.zeros_like(mean), np.full_like(mean, 1 / dataset.white)

    if streamed is None:
        streamed = not fits(dataset, device)

    def pixels(images: npt.NDArray[np.generic]) -> PixelSource:
        tensor = _tensor(images)
        return StreamedPixels(tensor, device) if streamed else ResidentPixels(tensor.to(device))

    def per_channel(values: npt.NDArray[np.float64]) -> torch.Tensor:
        shape = (-1,) + (1,) * (len(dataset.input_shape) - 1)
        return torch.tensor(values, dtype=torch.float32, device=device).reshape(shape)

    return DeviceData(
        train_images=pixels(dataset.train_images),
        train_labels=torch.tensor(given_labels, device=device),
        test_images=pixels(dataset.test_images),
        test_labels=torch.tensor(np.asarray(dataset.test_labels), device=device),
        shift=per_channel(shift) if shift.any() else None,
        scale=per_channel(scale),
        fill=per_channel((mean - shift) * scale),
        num_classes=dataset.num_classes,
        split=torch.tensor(given_labels != np.asarray(dataset.train_labels), device=device),
        subset_source=ScoredExamples(scores, given_labels) if scores else None,
    )


def fits(dataset: Dataset, device: torch.device) -> bool:
    """Whether the images fit into half of the device's free memory. On the CPU always: they are memory-mapped."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return dataset.train_images.nbytes + dataset.test_images.nbytes <= free // 2


def check_augmentation(dataset: Dataset, campaign: Campaign) -> None:
    """Raise CampaignError where the recipe's augmentation cannot be applied to this data set."""
    how = campaign.recipe.augmentation
    augmented = how.changes_images or campaign.recipe.evaluation_flip
    if augmented and len(dataset.input_shape) != 3:
        raise CampaignError(
            f"recipe.augmentation: needs images [C, H, W], the data set has {list(dataset.input_shape)}"
        )
    if augmented and how.cutout > min(dataset.input_shape[1:]):
        side = min(dataset.input_shape[1:])
        raise CampaignError(f"recipe.augmentation.cutout: must be at most the image's side {side}, got {how.cutout}")


def _channel_statistics(dataset: Dataset) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and standard deviation of each channel (first axis of an example) of the training images, float64[C]."""
    images = dataset.train_images
    total = np.zeros(dataset.input_shape[0])
    squares = np.zeros(dataset.input_shape[0])
    for start in range(0, len(images), _STATISTICS_CHUNK):
        chunk = np.asarray(images[start : start + _STATISTICS_CHUNK], dtype=np.float64)
        chunk = chunk.reshape(len(chunk), dataset.input_shape[0], -1)
        total += chunk.sum(axis=(0, 2))
        squares += (chunk**2).sum(axis=(0, 2))
    count = len(images) * int(np.prod(dataset.input_shape[1:]))
    mean = total / count
    return mean, np.sqrt(np.maximum(squares / count - mean**2, 0))


def _tensor(array: npt.NDArray[np.generic]) -> torch.Tensor:
    """A tensor over the array's own memory. torch warns of read-only memory maps; nothing here writes to them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
