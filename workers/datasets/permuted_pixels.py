"""Permuted pixels: those of every image in the same other order, as in permuted MNIST.

I. J. Goodfellow et al., "An empirical investigation of catastrophic forgetting in gradient-based neural networks",
2013; M. Toneva et al., ICLR 2019, count forgetting in it. Channels stay together.
"""

import numpy as np

from workers.common.arrays import AnyArray, Integers
from workers.datasets.cache import Cache
from workers.datasets.dataset import Dataset
from workers.datasets.derived import derived_dataset
from workers.errors import DataError


def pixel_order(seed: int, pixels: int) -> Integers:
    """int64[pixels], which pixel stands at each place. By raw bits of PCG64, which NumPy promises not to change."""
    return np.argsort(np.random.PCG64(seed).random_raw(pixels), kind="stable")


def with_permuted_pixels(cache: Cache, base: Dataset, seed: int) -> Dataset:
    """The data set with the pixels of all its images, [N, C, H, W], in the order of the seed.

    Raises DataError where they are not images, or the cache cannot be written.
    """
    if len(base.input_shape) != 3:
        raise DataError(f"dataset.permute_pixels: needs images [C, H, W], the data set has {list(base.input_shape)}")
    channels, height, width = base.input_shape
    order = pixel_order(seed, height * width)

    def permuted(images: AnyArray, start: int) -> AnyArray:
        return images.reshape(len(images), channels, -1)[:, :, order].reshape(images.shape)

    return derived_dataset(cache, base, ["permute_pixels", seed], permuted, permuted)
