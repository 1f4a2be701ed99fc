"""Images of a data set as PNG: single images for galleries, sheets for the explorer."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from analysis.view.display.images import as_image, data_uri, pixels_of, png
from workers.campaign.campaign import Campaign
from workers.common.arrays import Integers
from workers.common.splits import Split
from workers.datasets import Dataset, load_dataset
from workers.errors import LongtailError
from workers.store import Store

SHEET = 64
"""Images on a sheet, in rows of COLUMNS."""
COLUMNS = 16


@dataclass(frozen=True)
class Pictures:
    """The images of a data set of uint8 pixels, grey or RGB."""

    dataset: Dataset

    @property
    def height(self) -> int:
        """Pixels."""
        return self.dataset.input_shape[1]

    @property
    def width(self) -> int:
        """Pixels."""
        return self.dataset.input_shape[2]

    def uri(self, split: Split, example: int) -> str:
        """An image as a data URI."""
        return data_uri(as_image(pixels_of(self.dataset, split, np.array([example]))[0]))

    def sheet(self, split: Split, ids: Integers) -> str:
        """Up to SHEET images on one, row after row, as base64 of a PNG."""
        pixels = pixels_of(self.dataset, split, ids)
        rows = -(-len(ids) // COLUMNS)
        empty = np.zeros((rows * COLUMNS - len(ids), *pixels.shape[1:]), dtype=np.uint8)
        tiles = np.concatenate([pixels, empty]).reshape(rows, COLUMNS, *pixels.shape[1:])
        return png(as_image(tiles.swapaxes(1, 2).reshape(rows * self.height, COLUMNS * self.width, -1)))


def load_pictures(
    store: Store, warn: Callable[[str], None] = lambda line: None, *, trust_code: bool = False
) -> tuple[Pictures | None, str]:
    """The images of a store's data set, or None and the reason why there are none.

    `trust_code`: a function of the campaign's may be called, and missing files downloaded.
    """
    campaign = store.header.campaign
    if not isinstance(campaign, Campaign):
        return None, "The runs were imported: their data set is not known here, so examples are shown by their ids."
    try:
        dataset = load_dataset(campaign.dataset, store.header.fingerprint, trusted=trust_code)
    except LongtailError as error:
        warn(f"note: no images: {error}")
        return None, f"The data set could not be loaded ({error}), so examples are shown by their ids."
    shape = dataset.input_shape
    if len(shape) != 3 or shape[0] not in (1, 3):
        return None, "The data set has no grey or RGB images, so examples are shown by their ids."
    return Pictures(dataset), ""
