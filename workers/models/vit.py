"""torchvision's vision transformer."""

import math

from torch import nn

from workers.campaign.model_spec import ViT
from workers.models.checking import check_patches

MLP_RATIO = 4
"""Units of a block's hidden layer over units per token (Dosovitskiy et al., ICLR 2021)."""


def build_vit(spec: ViT, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """A vision transformer of the given layers, heads and width on square images.

    Raises ModelError where inputs are not square images, the patch does not divide them, or heads do not divide width.
    """
    from torchvision.models import VisionTransformer

    channels, height = check_patches(spec, input_shape)
    model: nn.Module = VisionTransformer(
        image_size=height,
        patch_size=spec.patch_size,
        num_layers=spec.layers,
        num_heads=spec.heads,
        hidden_dim=spec.width,
        mlp_dim=MLP_RATIO * spec.width,
        dropout=spec.dropout,
        num_classes=num_classes,
    )
    if channels != 3:
        model.conv_proj = _patch_projection(channels, spec)
    return model


def _patch_projection(channels: int, spec: ViT) -> nn.Conv2d:
    """The first layer for other than three channels, with torchvision's initialisation."""
    layer = nn.Conv2d(channels, spec.width, kernel_size=spec.patch_size, stride=spec.patch_size)
    nn.init.trunc_normal_(layer.weight, std=math.sqrt(1 / (channels * spec.patch_size**2)))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
