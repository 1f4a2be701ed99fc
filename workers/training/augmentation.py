"""Image augmentation on the training device; random numbers are drawn per epoch, on the CPU.

Drawn apart from their use, so that a GPU sees the same changes as a CPU, and a training step draws nothing.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from workers.campaign.recipe import Augmentation

DRAWS = 5
"""Numbers drawn per presentation: mirrored, rows and columns of the shift, top and left of the cutout."""


def draw_changes(
    how: Augmentation, image_shape: Sequence[int], count: int, random: np.random.Generator
) -> npt.NDArray[np.int64] | None:
    """The changes of `count` presentations of images [C, H, W]: int64[DRAWS, count]; None where there are none."""
    if not how.changes_images:
        return None
    height, width = image_shape[-2:]
    limits = (
        2 if how.flip is True else 1,  # alternating flips are not drawn anew
        2 * how.translate + 1,
        2 * how.translate + 1,
        height - how.cutout + 1,
        width - how.cutout + 1,
    )
    return np.stack([random.integers(0, limit, count) for limit in limits])


def augment(images: torch.Tensor, how: Augmentation, fill: torch.Tensor, changes: torch.Tensor) -> torch.Tensor:
    """Flip, shift and cut out, each image on its own.

    images: float[B, C, H, W]; fill: float[C, 1, 1], the colour of what a shift uncovers and of what is cut out;
    changes: int64[DRAWS, B]. Returns a tensor of the images' shape.
    """
    mirrored, rows, columns, top, left = changes
    if how.flip:
        images = torch.where((mirrored == 1)[:, None, None, None], images.flip(-1), images)
    if how.translate:
        images = _shift(images, how.translate, fill, rows, columns)
    if how.cutout:
        images = _cut_out(images, how.cutout, fill, top[:, None], left[:, None])
    return images


def _shift(
    images: torch.Tensor, limit: int, fill: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor
) -> torch.Tensor:
    """Each image moved by its `rows` - limit and `columns` - limit pixels."""
    batch, channels, height, width = images.shape
    padded = fill.expand(batch, channels, height + 2 * limit, width + 2 * limit).clone()
    padded[:, :, limit : limit + height, limit : limit + width] = images
    taken_rows = (rows[:, None] + torch.arange(height, device=images.device))[:, None, :, None]
    taken_columns = (columns[:, None] + torch.arange(width, device=images.device))[:, None, None, :]
    examples = torch.arange(batch, device=images.device)[:, None, None, None]
    layers = torch.arange(channels, device=images.device)[None, :, None, None]
    return padded[examples, layers, taken_rows, taken_columns]


def _cut_out(
    images: torch.Tensor, side: int, fill: torch.Tensor, top: torch.Tensor, left: torch.Tensor
) -> torch.Tensor:
    """A square of `side` pixels, wholly inside each image, replaced by the fill colour."""
    y = torch.arange(images.shape[2], device=images.device)
    x = torch.arange(images.shape[3], device=images.device)
    inside = ((y >= top) & (y < top + side))[:, None, :, None] & ((x >= left) & (x < left + side))[:, None, None, :]
    return torch.where(inside, fill, images)
