"""The network of Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (2024), arXiv:2404.00498, section 3.1."""

from itertools import pairwise

import torch
from torch import nn

from workers.campaign.model_spec import Airbench
from workers.models.checking import image_shape
from workers.models.resnet9 import GlobalMaxPool, Scale

SMALLEST = 9
"""An unpadded 2 x 2 convolution and three poolings leave one pixel."""

LOGIT_SCALE = 1 / 9
KEPT = 0.6
"""Share of the running statistics that a minibatch leaves: few minibatches are seen in all."""


def build_airbench(spec: Airbench, input_shape: tuple[int, ...], num_classes: int) -> nn.Sequential:
    """A 2 x 2 convolution for `recipe.initialization.whitening`, then three blocks of `widths`, each with one pooling.

    Raises ModelError where inputs are not images of at least 9 x 9 pixels.
    """
    channels, _, _ = image_shape(spec.name, input_shape, SMALLEST)
    filters = 2 * channels * 2 * 2  # each principal component of a patch, and its negative
    widths = (filters, *spec.widths)
    blocks = [layer for into, out in pairwise(widths) for layer in _block(into, out)]
    first = nn.Conv2d(channels, filters, 2)
    nn.init.zeros_(first.get_parameter("bias"))
    head = nn.Linear(widths[-1], num_classes, bias=False)
    return nn.Sequential(first, nn.GELU(), *blocks, GlobalMaxPool(), head, Scale(LOGIT_SCALE))


def _block(into: int, out: int) -> list[nn.Module]:
    return [_conv(into, out), nn.MaxPool2d(2), _norm(out), nn.GELU(), _conv(out, out), _norm(out), nn.GELU()]


def _conv(into: int, out: int) -> nn.Conv2d:
    """3 x 3; as many filters as there are inputs start by handing one on each (section 3.3)."""
    conv = nn.Conv2d(into, out, 3, padding=1, bias=False)
    with torch.no_grad():
        nn.init.dirac_(conv.weight[:into])
    return conv


def _norm(width: int) -> nn.BatchNorm2d:
    """Shifts are trained, scales are not."""
    norm = nn.BatchNorm2d(width, momentum=1 - KEPT)
    norm.weight.requires_grad_(False)
    return norm
