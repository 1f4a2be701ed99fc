"""Random changes to a minibatch of images, on the device that holds it."""

import torch

from workers.recipe import Augmentation


def augment(images: torch.Tensor, how: Augmentation, fill: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Flip, shift and cut out, each image on its own.

    images: float[B, C, H, W]; fill: float[C, 1, 1], the colour of what a shift uncovers and of what is cut out.
    Returns a tensor of the same shape. Draws come from `generator` (on the images' device) only.
    """
    if how.flip:
        mirrored = torch.rand(len(images), device=images.device, generator=generator) < 0.5
        images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
    if how.translate:
        images = _shift(images, how.translate, fill, generator)
    if how.cutout:
        images = _cut_out(images, how.cutout, fill, generator)
    return images


def _shift(images: torch.Tensor, limit: int, fill: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image moved by up to `limit` pixels in both directions, every shift equally likely."""
    batch, channels, height, width = images.shape
    padded = fill.expand(batch, channels, height + 2 * limit, width + 2 * limit).clone()
    padded[:, :, limit : limit + height, limit : limit + width] = images
    shifts = torch.randint(0, 2 * limit + 1, (2, batch), device=images.device, generator=generator)
    rows = (shifts[0][:, None] + torch.arange(height, device=images.device))[:, None, :, None]
    columns = (shifts[1][:, None] + torch.arange(width, device=images.device))[:, None, None, :]
    examples = torch.arange(batch, device=images.device)[:, None, None, None]
    layers = torch.arange(channels, device=images.device)[None, :, None, None]
    return padded[examples, layers, rows, columns]


def _cut_out(images: torch.Tensor, side: int, fill: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A square of `side` pixels, wholly inside each image, replaced by the fill colour."""
    batch, _, height, width = images.shape
    top = torch.randint(0, height - side + 1, (batch, 1), device=images.device, generator=generator)
    left = torch.randint(0, width - side + 1, (batch, 1), device=images.device, generator=generator)
    y = torch.arange(height, device=images.device)
    x = torch.arange(width, device=images.device)
    inside = ((y >= top) & (y < top + side))[:, None, :, None] & ((x >= left) & (x < left + side))[:, None, None, :]
    return torch.where(inside, fill, images)
