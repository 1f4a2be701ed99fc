"""Data sets made of another one by changing its pixels: decoded once, in the cache, for all processes of a node."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from workers.common.arrays import AnyArray
from workers.datasets.cache import Cache, entry, hashed
from workers.datasets.dataset import Dataset, chunks
from workers.datasets.npy import write_npy

Change = Callable[[AnyArray, int], AnyArray]
"""Of images [n, ...] from a row on: as many images of the same shape and type. Called with rows in their order."""


def derived_dataset(cache: Cache, base: Dataset, key: Any, train: Change, test: Change | None = None) -> Dataset:
    """The data set with its training images changed, and its test images where `test` is given; made once, cached.

    `key` (plain data) tells apart what is derived from one data set. Labels, names and notes stay. Raises DataError
    where the cache cannot be written.
    """
    source = hashed(["derived", base.fingerprint, key])
    cached = cache.find_source(source)
    if cached is not None:
        return cached
    with cache.building(source) as scratch:
        cached = cache.find_source(source)
        if cached is not None:
            return cached
        arrays: dict[str, AnyArray] = {"train_images": base.train_images, "test_images": base.test_images}
        for name, change in {"train_images": train, "test_images": test}.items():
            if change is not None:
                path, images = entry(scratch) / f"{name}.npy", arrays[name]
                write_npy(path, images.dtype, images.shape, _changed(images, change))
                arrays[name] = np.load(path, mmap_mode="r")
        dataset = Dataset(
            train_images=arrays["train_images"],
            test_images=arrays["test_images"],
            train_labels=base.train_labels,
            test_labels=base.test_labels,
            white=base.white,
            **vars(base.description),
        )
        dataset = cache.add(dataset, scratch)
        cache.record_source(source, dataset, scratch)
        return dataset


def _changed(images: AnyArray, change: Change) -> Iterator[AnyArray]:
    start = 0
    for block in chunks(images):
        yield np.ascontiguousarray(change(block, start), dtype=images.dtype.newbyteorder("<"))
        start += len(block)
