"""Images of a data set's examples, loaded when one is displayed.

A store may come from anybody: so images are taken from the cache, or from files that are here. A function that the
store names is called, and a download begun, only where the caller trusts the store.
"""

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from workers.campaign.dataset_spec import DatasetSpec
from workers.common.splits import Split
from workers.datasets import Dataset, load_dataset
from workers.errors import LongtailError, NoEstimateError

_MIN_PIXELS = 48
"""Pixels of a small image's longer side in a table, at least."""
_MAX_PIXELS = 96
"""Pixels of a large one's, at most."""


class DatasetImages:
    """The images of the data set with a fingerprint; `spec` None stands for one that is not known here."""

    def __init__(self, spec: DatasetSpec | None, fingerprint: str, *, trust_code: bool = False) -> None:
        self._spec = spec
        self._trust_code = trust_code
        self._fingerprint = fingerprint
        self._dataset: Dataset | None = None
        self._missing: str | None = None

    def __reduce__(self) -> tuple[type["DatasetImages"], tuple[DatasetSpec | None, str]]:
        """Without the data set, which whoever unpickles it loads again."""
        return DatasetImages, (self._spec, self._fingerprint)

    @property
    def missing(self) -> str:
        """Why there are no images, in one line; empty where there are some. Loads the data set, once."""
        if self._dataset is None and self._missing is None:
            self._look()
        return self._missing or ""

    def load(self) -> None:
        """Load the data set, where the store is trusted as a run does.

        Raises DataError where it cannot be loaded, EstimateError where it is not known or holds no grey or RGB images.
        What a user's function raises passes through.
        """
        if self._dataset is not None:
            return
        if self._spec is None:
            raise NoEstimateError("no images: the runs were imported, and nothing says where their data set is")
        self._take(load_dataset(self._spec, self._fingerprint, trusted=self._trust_code))
        if self._missing:
            raise NoEstimateError(f"no images: {self._missing}")

    def image(self, split: Split, example_id: int, enlarged: int = 1) -> Image.Image:
        """An example's image, each of its pixels as `enlarged` x `enlarged` ones. It must be there: see `missing`."""
        if self._dataset is None:
            raise NoEstimateError(f"no images: {self.missing}")
        image = as_image(pixels_of(self._dataset, split, np.array([example_id]))[0])
        return image.resize((image.width * enlarged, image.height * enlarged), Image.Resampling.NEAREST)

    def thumbnail(self, split: Split, example_id: int) -> Image.Image | None:
        """An image of a size to stand in a table: a small one's pixels are enlarged, a large one is reduced.

        None where there are no images, or not of this example. Loads the data set as `missing` does.
        """
        if self.missing or not 0 <= example_id < self.count(split):
            return None
        image = self.image(split, example_id)
        if max(image.size) > _MAX_PIXELS:
            image.thumbnail((_MAX_PIXELS, _MAX_PIXELS))
            return image
        return self.image(split, example_id, -(-_MIN_PIXELS // max(image.size)))

    def count(self, split: Split) -> int:
        """Examples of a split; 0 before the data set is loaded."""
        return 0 if self._dataset is None else self._dataset.num_train if split == "train" else self._dataset.num_test

    def _look(self) -> None:
        """The data set, or why it is not there. What a trusted function of the user's raises passes through."""
        if self._spec is None:
            self._missing = "the runs were imported, and nothing says where their data set is"
            return
        try:
            self._take(load_dataset(self._spec, self._fingerprint, trusted=self._trust_code))
        except LongtailError as error:
            self._missing = " ".join(f"the data set cannot be loaded: {error}".split())

    def _take(self, dataset: Dataset) -> None:
        shape = dataset.input_shape
        images = len(shape) == 3 and shape[0] in (1, 3)
        self._dataset = dataset if images else None
        self._missing = None if images else f"the examples are no grey or RGB images, their shape is {list(shape)}"


def pixels_of(dataset: Dataset, split: Split, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Images as uint8[len(ids), H, W, 1 or 3], the data set's white being 255."""
    images = dataset.train_images if split == "train" else dataset.test_images
    scaled = np.asarray(images[ids], dtype=np.float32) * (255 / dataset.white)
    pixels: npt.NDArray[np.uint8] = np.clip(scaled.round(), 0, 255).astype(np.uint8)
    return pixels.transpose(0, 2, 3, 1)


def as_image(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    """uint8[H, W, 1 or 3] as a grey or RGB image."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def data_uri(image: Image.Image) -> str:
    """An image as a PNG that stands in a page."""
    return "data:image/png;base64," + png(image)


def png(image: Image.Image) -> str:
    """An image as base64 of a PNG."""
    buffer = io.BytesIO()
    image.save(buffer, format="png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
