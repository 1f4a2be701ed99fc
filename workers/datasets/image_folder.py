"""Image files in a folder per class."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from workers.datasets.dataset import Array, Dataset
from workers.datasets.images import EncodedImage, EncodedImages, decode_splits
from workers.errors import DataError
from workers.specs import ImageFolder

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")

Listing = dict[str, list[str]]
"""Class name to the paths of its files, both in sorted order."""


def source_files(spec: ImageFolder) -> Iterable[Path]:
    """Every image file, in canonical order. Raises DataError where folders are missing or empty."""
    _, train, test = _list_splits(spec)
    return [Path(path) for split in (train, test) for paths in split.values() for path in paths]


def decode(spec: ImageFolder, scratch: Path) -> Dataset:
    """Classes in sorted order of the training folders' names, examples class by class in sorted order of file names.

    Raises DataError: no `train` folder, a class without images, a test class that is not in `train`, or what
    `decode_splits` raises.
    """
    names, train, test = _list_splits(spec)
    train_images, test_images = decode_splits(_encoded(train), _encoded(test), spec, scratch)
    return Dataset(
        train_images=train_images,
        train_labels=_labels(train, names),
        test_images=test_images,
        test_labels=_labels(test, names),
        class_names=names,
    )


def _list_splits(spec: ImageFolder) -> tuple[tuple[str, ...], Listing, Listing]:
    root = Path(spec.root).expanduser().absolute()
    train = _list_classes(root / "train")
    test_folder = next((root / name for name in ("test", "val") if (root / name).is_dir()), None)
    test = _list_classes(test_folder) if test_folder else {}
    if not train:
        raise DataError(f"dataset.root: {root / 'train'} has no folders with images, one for each class")
    for name, paths in train.items():
        if not paths:
            raise DataError(f"dataset.root: {root / 'train' / name} has no images ({', '.join(EXTENSIONS)})")
    for name in test:
        if name not in train:
            raise DataError(
                f"dataset.root: {test_folder}/{name} is a class without training images in {root / 'train'}"
            )
    return tuple(train), train, test


def _list_classes(folder: Path) -> Listing:
    try:
        with os.scandir(folder) as entries:
            names = sorted(each.name for each in entries if each.is_dir() and not each.name.startswith("."))
        return {name: _list_images(folder / name) for name in names}
    except OSError as error:
        raise DataError(f"dataset.root: {folder}: {error.strerror}") from error


def _list_images(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(
            each.path
            for each in entries
            if not each.name.startswith(".") and each.name.lower().endswith(EXTENSIONS) and each.is_file()
        )


def _encoded(listing: Listing) -> EncodedImages:
    paths = [path for each in listing.values() for path in each]
    return EncodedImages(len(paths), lambda: (EncodedImage(path, path) for path in paths))


def _labels(listing: Listing, names: tuple[str, ...]) -> Array:
    index = {name: label for label, name in enumerate(names)}
    return np.array([index[name] for name, paths in listing.items() for _ in paths], dtype=np.int64)
