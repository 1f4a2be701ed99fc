"""Data sets of image files in one folder per class."""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workers.campaign.dataset_spec import ImageFolder
from workers.campaign.plural import count_text
from workers.common.arrays import AnyArray
from workers.datasets.dataset import Dataset
from workers.datasets.description import file_names
from workers.datasets.image_files import EXTENSIONS, ClassFolders, list_classes, path_text, split_images
from workers.datasets.image_splits import Splits, find_splits
from workers.datasets.images import EncodedImage, EncodedImages, decode_splits
from workers.errors import DataError

Listing = dict[str, list[str]]
"""Class name to the paths of its images, both in canonical order."""


@dataclass(frozen=True)
class _Folders:
    """The folders of a data set's splits, and what lies in them."""

    splits: Splits
    train: ClassFolders
    test: ClassFolders | None

    @property
    def both(self) -> list[ClassFolders]:
        return [self.train] if self.test is None else [self.train, self.test]


def source_files(spec: ImageFolder) -> Iterable[Path]:
    """Every file in class folders, images or not, in canonical order. Raises DataError where folders are missing."""
    return [Path(path) for split in _folders(spec).both for paths in split.classes.values() for path in paths]


def decode(spec: ImageFolder, scratch: Path) -> Dataset:
    """Classes in sorted order of the training folders' names; examples class by class, by folder, then by file name.

    Raises DataError: no training folder, a class without images, a test class that is not in training, or what
    `list_classes` and `decode_splits` raise.
    """
    folders = _folders(spec)
    root = folders.splits.root
    notes = list(folders.splits.notes)
    train, test = (_images(split, root, notes) for split in (folders.train, folders.test))
    _check_classes(train, test, folders)
    empty = [name for name, paths in test.items() if not paths]
    if empty and folders.test is not None:
        classes = count_text(len(empty), "class", "classes")
        notes.append(f"{classes} of {folders.test.folder.relative_to(root)} without images, for example {empty[0]}")
    images = decode_splits(_encoded(train), _encoded(test), spec, scratch)
    names = tuple(train)
    return Dataset(
        train_images=images.train,
        train_labels=_labels(train, names),
        test_images=images.test,
        test_labels=_labels(test, names),
        class_names=names,
        notes=(*notes, *images.notes),
        train_names=_names(train, root),
        test_names=_names(test, root),
    )


def _folders(spec: ImageFolder) -> _Folders:
    splits = find_splits(Path(spec.root).expanduser().absolute())
    return _Folders(splits, list_classes(splits.train), None if splits.test is None else list_classes(splits.test))


def _images(split: ClassFolders | None, root: Path, notes: list[str]) -> Listing:
    """The images of each class; what is not read is noted."""
    if split is None:
        return {}
    listing, others = {}, []
    for name, paths in split.classes.items():
        listing[name], rest = split_images(paths)
        others += rest
    kinds = Counter(Path(path).suffix.lower() or "no suffix" for path in others)
    suffixes = ", ".join(kind for kind, _ in kinds.most_common(5)) + (", ..." if len(kinds) > 5 else "")
    skipped = {
        f"not known as images ({suffixes})": others,
        f"in no class folder of {path_text(split.folder.relative_to(root))}": split.loose,
        "hidden": split.hidden,
        "no regular files": split.special,
    }
    for why, paths in skipped.items():
        if paths:
            count = "1 file is" if len(paths) == 1 else f"{len(paths):,} files are"
            notes.append(f"{count} not read, being {why}; for example {path_text(Path(paths[0]).relative_to(root))}")
    return listing


def _check_classes(train: Listing, test: Listing, folders: _Folders) -> None:
    """Raise DataError where a class has no training images."""
    if not train:
        raise DataError(
            f"dataset.root: {path_text(folders.train.folder)} has no folders with images, one for each class"
        )
    for name, paths in train.items():
        if not paths:
            where = path_text(folders.train.folder / name)
            inside = folders.train.classes[name]
            got = f"; other files: {len(inside):,}, for example {path_text(inside[0])}" if inside else ""
            raise DataError(f"dataset.root: {where} has no images ({', '.join(EXTENSIONS)}){got}")
    for name in test:
        if name not in train and folders.test is not None:
            near = next((other for other in train if _folded(other) == _folded(name)), None)
            hint = "" if near is None else f" (which has {near!a}, differing in case, blanks or Unicode form: {name!a})"
            raise DataError(
                f"dataset.root: {path_text(folders.test.folder / name)} is a class without training images in "
                f"{path_text(folders.train.folder)}{hint}"
            )


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip().casefold()


def _names(listing: Listing, root: Path) -> list[str]:
    return file_names([path for paths in listing.values() for path in paths], root)


def _encoded(listing: Listing) -> EncodedImages:
    paths = [path for each in listing.values() for path in each]
    return EncodedImages(len(paths), lambda: (EncodedImage(path_text(path), path) for path in paths))


def _labels(listing: Listing, names: tuple[str, ...]) -> AnyArray:
    index = {name: label for label, name in enumerate(names)}
    return np.array([index[name] for name, paths in listing.items() for _ in paths], dtype=np.int64)
