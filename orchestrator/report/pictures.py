"""Images of a data set as PNG: single images for galleries, sheets for the explorer."""

from dataclasses import dataclass

import numpy as np

from analysis.view.display.images import as_image, data_uri, pixels_of, png
from workers.common.arrays import Integers
from workers.common.splits import Split
from workers.datasets import Dataset

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
