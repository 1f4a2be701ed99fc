"""Wide residual networks for small images: S. Zagoruyko and N. Komodakis, "Wide residual networks", BMVC 2016."""

import torch
from torch import nn

from workers.campaign.model_spec import WideResNet
from workers.models.checking import image_shape

SMALLEST = 4
"""Two strides of 2 leave one pixel."""


def build_wide_resnet(spec: WideResNet, input_shape: tuple[int, ...], num_classes: int) -> nn.Sequential:
    """WRN-depth-width: a convolution of 16 channels, three groups of (depth - 4) / 6 blocks, and the head.

    Raises ModelError where inputs are not images of at least 4 x 4 pixels.
    """
    channels, _, _ = image_shape(spec.name, input_shape, SMALLEST)
    layers: list[nn.Module] = [_conv(channels, 16)]
    inputs = 16
    for group, outputs in enumerate((16 * spec.width, 32 * spec.width, 64 * spec.width)):
        for block in range((spec.depth - 4) // 6):
            layers.append(WideBlock(inputs, outputs, 2 if group and not block else 1, spec.dropout))
            inputs = outputs
    head = (nn.BatchNorm2d(inputs), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, num_classes))
    return nn.Sequential(*layers, *head)


class WideBlock(nn.Module):
    """Norm, ReLU and convolution twice, and the input; through a 1 x 1 convolution where the channels change."""

    is_stage = True

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU())
        second = [_conv(inputs, outputs, stride=stride), nn.BatchNorm2d(outputs), nn.ReLU()]
        dropped = [nn.Dropout(dropout)] if dropout else []
        self.layers = nn.Sequential(*second, *dropped, _conv(outputs, outputs))
        changes = inputs != outputs or stride != 1
        self.shortcut = _conv(inputs, outputs, kernel=1, stride=stride) if changes else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        active = self.first(x)
        skipped = x if self.shortcut is None else self.shortcut(active)
        return skipped + self.layers(active)  # type: ignore[no-any-return]


def _conv(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
