"""The ResNet-9 of fast CIFAR-10 training, as in FFCV's example and in Ilyas et al., Datamodels (ICML 2022)."""

import torch
from torch import nn

from workers.campaign.model_spec import ResNet9
from workers.models.checking import image_shape

SMALLEST = 11
"""Stride, pooling and an unpadded 3 x 3 convolution leave one pixel."""

LOGIT_SCALE = 0.2


def build_resnet9(spec: ResNet9, input_shape: tuple[int, ...], num_classes: int) -> nn.Sequential:
    """The published layers at width 64; other widths scale all of them.

    Raises ModelError where inputs are not images of at least 11 x 11 pixels.
    """
    channels, _, _ = image_shape(spec.name, input_shape, SMALLEST)
    width = spec.width
    return nn.Sequential(
        _conv_bn(channels, width),
        _conv_bn(width, 2 * width, kernel=5, stride=2, padding=2),
        Residual(_conv_bn(2 * width, 2 * width), _conv_bn(2 * width, 2 * width)),
        _conv_bn(2 * width, 4 * width),
        nn.MaxPool2d(2),
        Residual(_conv_bn(4 * width, 4 * width), _conv_bn(4 * width, 4 * width)),
        _conv_bn(4 * width, 2 * width, padding=0),
        GlobalMaxPool(),
        nn.Linear(2 * width, num_classes, bias=False),
        Scale(LOGIT_SCALE),
    )


class Residual(nn.Module):
    """x + layers(x)."""

    is_stage = True

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] to the same shape."""
        return x + self.layers(x)  # type: ignore[no-any-return]


class GlobalMaxPool(nn.Module):
    """The largest value of each map. PyTorch's own adaptive pooling has no deterministic gradient on GPUs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] to [B, C]."""
        return x.amax(dim=(2, 3))


class Scale(nn.Module):
    """A constant factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape to the same shape."""
        return x * self.factor


def _conv_bn(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, padding: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
