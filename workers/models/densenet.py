"""DenseNet-BC for small images: G. Huang et al., "Densely connected convolutional networks", CVPR 2017, table 2."""

import torch
from torch import nn

from workers.campaign.model_spec import DenseNet
from workers.models.checking import image_shape

SMALLEST = 4
"""Two poolings leave one pixel."""


def build_densenet(spec: DenseNet, input_shape: tuple[int, ...], num_classes: int) -> nn.Sequential:
    """Three blocks of (depth - 4) / 6 bottleneck layers, with transitions that halve the channels (compression 0.5).

    Raises ModelError where inputs are not images of at least 4 x 4 pixels.
    """
    channels, _, _ = image_shape(spec.name, input_shape, SMALLEST)
    width = 2 * spec.growth
    layers: list[nn.Module] = [_conv(channels, width, 3)]
    for block in range(3):
        if block:
            layers += [nn.BatchNorm2d(width), nn.ReLU(), _conv(width, width // 2, 1), nn.AvgPool2d(2)]
            width //= 2
        for _ in range((spec.depth - 4) // 6):
            layers.append(DenseLayer(width, spec.growth))
            width += spec.growth
    head = (nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))
    return nn.Sequential(*layers, *head)


class DenseLayer(nn.Module):
    """The input, and behind it `growth` more channels: a 1 x 1 convolution to 4 growth, then a 3 x 3 one."""

    is_stage = True

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        first = (nn.BatchNorm2d(inputs), nn.ReLU(), _conv(inputs, 4 * growth, 1))
        second = (nn.BatchNorm2d(4 * growth), nn.ReLU(), _conv(4 * growth, growth, 3))
        self.layers = nn.Sequential(*first, *second)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, inputs, H, W] to [B, inputs + growth, H, W]."""
        return torch.cat((x, self.layers(x)), dim=1)


def _conv(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return conv
