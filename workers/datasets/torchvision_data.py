"""Data sets that torchvision downloads and reads."""

import gzip
import math
import os
import pickle
import warnings
import zlib
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from workers.campaign.dataset_spec import CIFAR100, EMNIST, TorchvisionData
from workers.common.arrays import AnyArray
from workers.common.extras import missing_extras_explained
from workers.datasets.dataset import Dataset
from workers.datasets.npy import cache_errors
from workers.errors import DamagedDataError, DataError

_MNIST_FAMILY = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST", "emnist": "EMNIST"}
_CIFAR_FAMILY = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}
_FOLDERS = {**_MNIST_FAMILY, "cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
_FILES = {
    "cifar10": (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"),
    "cifar100": ("train", "test", "meta"),
    "svhn": ("train_32x32.mat", "test_32x32.mat"),
}
_DIGIT_NAMES = tuple("0123456789")

_UNREADABLE = (
    *(OSError, EOFError, RuntimeError, ValueError, TypeError, LookupError, AssertionError, NotImplementedError),
    *(zlib.error, pickle.UnpicklingError, MemoryError),
)
"""What torchvision and the readers below it raise on missing and damaged files; URLError is an OSError."""

_BLOCK = 1 << 20
_MAX_BYTES = 560_000_000
"""EMNIST's largest file, of 697,932 images, has 547 MB."""
_MAX_EXAMPLES = 1_000_000
"""A byte of a label becomes eight. EMNIST has 814,255 examples."""
_IDX_BYTES = 0x08
"""The type of an IDX file's values: unsigned bytes, as in all of MNIST's family."""
_MAX_ENTRIES = 1000
"""Entries of a folder that are looked at for a set that is not where it should be."""

ImagesAndLabels = tuple[AnyArray, AnyArray]
"""Images uint8[n, C, H, W] and labels int64[n]."""


def source_files(spec: TorchvisionData) -> Iterable[Path]:
    """The files under root that torchvision reads; empty before they are downloaded."""
    root = _root(spec)
    if spec.name == "svhn":
        return [root / name for name in _FILES[spec.name] if (root / name).is_file()]
    return sorted(path for path in (root / _FOLDERS[spec.name]).rglob("*") if path.is_file())


def missing_file(spec: TorchvisionData, root: Path | None = None) -> Path | None:
    """The first of the set's files that is not under root (None: the specification's); None where all are there."""
    root = root or _root(spec)
    if spec.name in _MNIST_FAMILY:
        raw = root / _FOLDERS[spec.name] / "raw"
        places: list[tuple[Path, ...]] = [
            (raw / name, raw / f"{name}.gz", raw / "gzip" / f"{name}.gz") for name in _raw_names(spec)
        ]
    else:
        folder = root if spec.name == "svhn" else root / _FOLDERS[spec.name]
        places = [(folder / name,) for name in _FILES[spec.name]]
    return next((paths[0] for paths in places if _first_file(*paths) is None), None)


def check_files(spec: TorchvisionData, *, download: bool) -> None:
    """Raise DataError where files are missing and are not to be downloaded, or are in another folder nearby.

    The message says where they are, or what brings them. Looks at folders, makes none.
    """
    missing = missing_file(spec)
    if missing is None:
        return
    check_nearby(spec)
    if not (download and spec.download):
        brings = (
            "longtail run downloads it (elsewhere than beside the file: with --download)"
            if spec.download
            else "set dataset.download to true, or put the files there"
        )
        raise DataError(f"dataset.root: {spec.name} is not complete in {_root(spec)}: {missing} is missing; {brings}")


def check_nearby(spec: TorchvisionData) -> None:
    """Raise DataError where the set, which root has not, is in a folder above or in root: a level off."""
    root = _root(spec)
    nearby_root = _root_nearby(spec, root)
    if nearby_root is not None:
        where = f"{spec.name} is not in {root}, but found in {os.path.relpath(nearby_root, root)}"
        raise DataError(f"dataset.root: {where}: set dataset.root to {nearby_root}")


def _root_nearby(spec: TorchvisionData, root: Path) -> Path | None:
    """A folder above or in root that holds the whole set, as torchvision's root does."""
    inside: list[Path] = []
    with suppress(OSError), os.scandir(root) as entries:
        inside = sorted(Path(each.path) for each in islice(entries, _MAX_ENTRIES) if each.is_dir())
    candidates = (*list(root.parents)[:2], *inside)
    return next((candidate for candidate in candidates if missing_file(spec, candidate) is None), None)


def decode(spec: TorchvisionData, scratch: Path) -> Dataset:
    """Training and test examples in the order of the original files, images [., C, H, W] and upright.

    Raises DataError where files are missing or damaged, or the download fails.
    """
    try:
        with warnings.catch_warnings(), missing_extras_explained():
            # NumPy dislikes how the CIFAR files, pickled long ago, spell their type.
            warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
            (train_images, train_labels), (test_images, test_labels), names = _read(spec, scratch)
    except DataError:
        raise
    except _UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        missing = isinstance(error, FileNotFoundError | RuntimeError)  # so torchvision tells that no files are there
        raise (DataError if missing else DamagedDataError)(
            f"dataset.root: torchvision cannot read {spec.name} from {_root(spec)}; "
            f"{_advice(spec)} (it says: {reason[:300]})"
        ) from error
    try:
        return Dataset(train_images, train_labels, test_images, test_labels, names)
    except DataError as error:
        raise DamagedDataError(f"dataset.root: {_root(spec)} is damaged: {error}") from error


def _root(spec: TorchvisionData) -> Path:
    return Path(spec.root).expanduser().absolute()


def _is_requested(spec: TorchvisionData) -> bool:
    """Whether to download: never in place of files that are there, which torchvision would replace."""
    return spec.download and missing_file(spec) is not None


def _advice(spec: TorchvisionData) -> str:
    if missing_file(spec) is None:
        return "its files are damaged: put others there"
    return "check that it can be written and the network reached, or put complete files there"


def _read(spec: TorchvisionData, scratch: Path) -> tuple[ImagesAndLabels, ImagesAndLabels, tuple[str, ...]]:
    if spec.name in _MNIST_FAMILY:
        return _read_mnist(spec, scratch)
    if spec.name in _CIFAR_FAMILY:
        return _read_cifar(spec)
    return _read_svhn(spec)


def _read_mnist(spec: TorchvisionData, scratch: Path) -> tuple[ImagesAndLabels, ImagesAndLabels, tuple[str, ...]]:
    from torchvision import datasets

    root, download = _unpacked(spec, scratch)
    for name in [] if download else _raw_names(spec):
        _check_idx(root / _FOLDERS[spec.name] / "raw" / name)
    options: dict[str, Any] = {"split": spec.split} if isinstance(spec, EMNIST) else {}
    kind = getattr(datasets, _MNIST_FAMILY[spec.name])
    train, test = (kind(root, train=is_train, download=download, **options) for is_train in (True, False))
    names = _DIGIT_NAMES if spec.name == "mnist" else tuple(train.classes)
    first_label = 0
    if isinstance(spec, EMNIST) and spec.split == "letters":
        names, first_label = names[1:], 1  # the files count letters from 1, torchvision calls 0 "N/A"

    def split(source: Any) -> ImagesAndLabels:
        images = source.data.numpy()
        upright = images.transpose(0, 2, 1) if isinstance(spec, EMNIST) else images
        return upright[:, None], source.targets.numpy().astype(np.int64) - first_label

    return split(train), split(test), names


def _check_idx(file: Path) -> None:
    """Raise DataError where an IDX file does not hold what its header claims, or more than any of MNIST's family.

    torchvision reads the whole file before it looks, and makes eight bytes of each label.
    """
    dimensions = 3 if "images" in file.name else 1
    size = file.stat().st_size
    with file.open("rb") as opened:
        header = opened.read(4 + 4 * dimensions)
    sizes = [int.from_bytes(header[at : at + 4], "big") for at in range(4, len(header), 4)]
    if header[:4] != bytes([0, 0, _IDX_BYTES, dimensions]) or len(header) < 4 + 4 * dimensions:
        raise DamagedDataError(f"dataset.root: {file} is damaged: is no IDX file of {dimensions} dimensions")
    if size != len(header) + math.prod(sizes):
        shape = " x ".join(map(str, sizes))
        raise DamagedDataError(f"dataset.root: {file} is damaged: has {size:,} bytes, and claims {shape} values")
    if size > _MAX_BYTES or sizes[0] > _MAX_EXAMPLES:
        raise DataError(
            f"dataset.root: {file} has {sizes[0]:,} examples in {size:,} bytes, more than any such file "
            f"({_MAX_EXAMPLES:,} in {_MAX_BYTES:,}): make it an image folder or Parquet files"
        )


def _read_cifar(spec: TorchvisionData) -> tuple[ImagesAndLabels, ImagesAndLabels, tuple[str, ...]]:
    from torchvision import datasets

    kind = getattr(datasets, _CIFAR_FAMILY[spec.name])
    train, test = (kind(_root(spec), train=is_train, download=_is_requested(spec)) for is_train in (True, False))

    def split(source: Any) -> ImagesAndLabels:
        return source.data.transpose(0, 3, 1, 2), np.array(source.targets, dtype=np.int64)

    if isinstance(spec, CIFAR100) and spec.coarse:
        folder = _root(spec) / _FOLDERS[spec.name]
        labels = (_pickled(folder / name)["coarse_labels"] for name in ("train", "test"))
        pairs = zip((train, test), labels, strict=True)
        coarse = [(split(source)[0], np.array(of_split, dtype=np.int64)) for source, of_split in pairs]
        return coarse[0], coarse[1], tuple(_pickled(folder / "meta")["coarse_label_names"])
    return split(train), split(test), tuple(train.classes)


def _pickled(file: Path) -> dict[str, Any]:
    """The content of one of CIFAR's files, whose checksum torchvision has compared just before."""
    with file.open("rb") as opened:
        content: dict[str, Any] = pickle.load(opened, encoding="latin1")  # noqa: S301
    return content


def _read_svhn(spec: TorchvisionData) -> tuple[ImagesAndLabels, ImagesAndLabels, tuple[str, ...]]:
    from torchvision import datasets

    def split(name: str) -> ImagesAndLabels:
        source = datasets.SVHN(_root(spec), split=name, download=_is_requested(spec))
        # Its files call the digit 0 class 10; torchvision has made that 0.
        return source.data, source.labels.reshape(-1)

    return split("train"), split("test"), _DIGIT_NAMES


def _unpacked(spec: TorchvisionData, scratch: Path) -> tuple[Path, bool]:
    """(root, download) for torchvision: a scratch folder where root has the files only packed, and may be read-only."""
    raw = _root(spec) / _FOLDERS[spec.name] / "raw"
    names = _raw_names(spec)
    packed = {name: _first_file(raw / f"{name}.gz", raw / "gzip" / f"{name}.gz") for name in names}
    if all((raw / name).is_file() for name in names):
        return _root(spec), False
    if not all((raw / name).is_file() or packed[name] for name in names):
        return _root(spec), spec.download
    folder = scratch / _FOLDERS[spec.name] / "raw"
    with cache_errors(folder):
        folder.mkdir(parents=True)
    for name in names:
        source = packed[name]
        if (raw / name).is_file() or source is None:
            (folder / name).symlink_to(raw / name)
        else:
            _unpack(source, folder / name)
    return scratch, False


def _unpack(source: Path, target: Path) -> None:
    with gzip.open(source) as packed, target.open("wb") as file:
        while block := packed.read(_BLOCK):
            if file.tell() + len(block) > _MAX_BYTES:
                raise DataError(f"dataset.root: {source} unpacks to more than {_MAX_BYTES} bytes")
            with cache_errors(target):
                file.write(block)


def _first_file(*paths: Path) -> Path | None:
    return next((path for path in paths if path.is_file()), None)


def _raw_names(spec: TorchvisionData) -> list[str]:
    splits = [f"emnist-{spec.split}-train", f"emnist-{spec.split}-test"] if isinstance(spec, EMNIST) else None
    return [
        f"{split}-{part}"
        for split in splits or ("train", "t10k")
        for part in ("images-idx3-ubyte", "labels-idx1-ubyte")
    ]
