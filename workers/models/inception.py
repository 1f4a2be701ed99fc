"""The small Inception: C. Zhang et al., "Understanding deep learning requires rethinking generalization", ICLR 2017,
figure 3 of the appendix; the network of the CIFAR-10 C-scores (Jiang et al., ICML 2021)."""

import torch
from torch import nn

from workers.campaign.model_spec import Inception
from workers.models.checking import image_shape

SMALLEST = 4
"""Two strides of 2 leave one pixel."""
STEM = 6
GROUPS = (((2, 2), (2, 3)), ((7, 3), (6, 4), (5, 5), (3, 6)), ((11, 10), (11, 10)))
"""Channels of each block's 1 x 1 and 3 x 3 branch, in units of the width, of the groups between strides."""
DOWNSAMPLING = (5, 6)
"""Channels of the strided convolutions between the groups, in the same units."""


def build_inception(spec: Inception, input_shape: tuple[int, ...], num_classes: int) -> nn.Sequential:
    """A convolution, eight blocks in three groups with strides between them, and the head.

    The paper's batch norms have shifts alone; here they have scales as well, as all of PyTorch's. Raises ModelError
    where inputs are not images of at least 4 x 4 pixels.
    """
    channels, _, _ = image_shape(spec.name, input_shape, SMALLEST)
    width = STEM * spec.width
    layers: list[nn.Module] = [_unit(channels, width, 3)]
    for place, group in enumerate(GROUPS):
        if place:
            added = DOWNSAMPLING[place - 1] * spec.width
            layers.append(Branches(_unit(width, added, 3, stride=2), nn.MaxPool2d(3, stride=2, padding=1)))
            width += added
        for narrow, wide in group:
            one, three = narrow * spec.width, wide * spec.width
            layers.append(Branches(_unit(width, one, 1), _unit(width, three, 3)))
            width = one + three
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))


class Branches(nn.Module):
    """Two modules of the same input, their channels one behind the other."""

    is_stage = True

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first = first
        self.second = second

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] to [B, C1 + C2, H / stride, W / stride]."""
        return torch.cat((self.first(x), self.second(x)), dim=1)


def _unit(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm and ReLU."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())
