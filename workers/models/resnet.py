"""torchvision's ResNets, with the stem that small images need."""

from torch import nn

from workers.campaign.model_spec import ResNet
from workers.models.checking import image_shape

LARGEST_SMALL_IMAGE = 64
"""Up to this many pixels a side the stem keeps the resolution."""


def build_resnet(spec: ResNet, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """torchvision's ResNet-18 or -50; for images up to 64 pixels with a 3 x 3 stem of stride 1 and without its pooling,
    unless torchvision's own is requested.

    Raises ModelError where inputs are not images.
    """
    from torchvision import models

    channels, height, width = image_shape(spec.name, input_shape, smallest=1)
    small = spec.stem == "auto" and max(height, width) <= LARGEST_SMALL_IMAGE
    model: nn.Module = getattr(models, spec.name)(num_classes=num_classes)
    if small or channels != 3:
        kernel, stride, padding = (3, 1, 1) if small else (7, 2, 3)
        model.conv1 = nn.Conv2d(channels, 64, kernel, stride=stride, padding=padding, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    if small:
        model.maxpool = nn.Identity()
    return model
