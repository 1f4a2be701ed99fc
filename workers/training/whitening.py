"""A first convolution that whitens patches of images (Jordan, arXiv:2404.00498, section 3.2)."""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F

from workers.errors import CampaignError
from workers.training.device_data import DeviceData

_VALUES = 12_000_000
"""Looked at, about: a million patches of 2 x 2 pixels in three colours."""
_FLOOR = 5e-4
"""Of the mean variance, added to each: what hardly varies is not blown up."""


def whiten(model: nn.Module, data: DeviceData, members: npt.NDArray[np.int64]) -> None:
    """Make the first convolution's filters the principal components of its inputs' patches over their standard
    deviations, then the negatives of these; they are not trained from now on.

    From the first examples of the subset alone, `members` int64[m], without augmentation. Raises CampaignError where
    the model does not begin with a convolution that has two filters for each value of a patch.
    """
    conv = first_convolution(model)
    count = 1 + _VALUES // (conv.weight[0].numel() * math.prod(data.input_shape[1:]))
    images = data.scaled(data.train_images.select(torch.from_numpy(members[:count]).to(data.device)))
    components = _components(images.float(), conv)
    with torch.no_grad():
        conv.weight.copy_(torch.cat([components, -components]).view_as(conv.weight))
    conv.weight.requires_grad_(False)


def first_convolution(model: nn.Module) -> nn.Conv2d:
    """The layer that `whiten` changes. Raises CampaignError where there is none that it could."""
    conv = next((layer for layer in model.modules() if layer._parameters), None)
    if not isinstance(conv, nn.Conv2d):
        raise CampaignError(
            f"recipe.initialization.whitening: the model must begin with a Conv2d, got {type(conv).__name__}"
        )
    needed = 2 * conv.weight[0].numel()
    if conv.out_channels != needed or conv.groups != 1:
        raise CampaignError(
            f"recipe.initialization.whitening: the first convolution must have {needed} filters, two for each value of "
            f"its patches, got {conv.out_channels}"
        )
    return conv


def _components(images: torch.Tensor, conv: nn.Conv2d) -> torch.Tensor:
    """float32[B, C, H, W] to float32[d, d] on the CPU, a component a row, d = C * h * w."""
    patches = F.unfold(images, conv.kernel_size, conv.dilation).transpose(0, 1).flatten(1).double()
    variances, vectors = torch.linalg.eigh((patches @ patches.T / patches.shape[1]).cpu())
    scaled: torch.Tensor = vectors / (variances + _FLOOR * variances.mean()).sqrt()
    return scaled.T.float()
