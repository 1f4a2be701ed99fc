"""`Dataset`: the type of every data set in memory."""

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from workers.common.arrays import AnyArray
from workers.datasets.description import Description, checked_example_names, checked_notes
from workers.errors import DataError

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
"""The fields of a Dataset that are arrays."""

FINGERPRINT_FORMAT = 1
MAX_EXAMPLES = 2**31
_CHUNK_BYTES = 1 << 24


@dataclass(frozen=True, eq=False)
class Dataset:
    """A classification data set in its canonical order: example i is row i of the arrays.

    Raises DataError where the fields do not go together. The arrays may be memory maps; none is read whole at once.
    """

    train_images: AnyArray
    """uint8[N, C, H, W], or float32[N, ...] for features of any shape."""
    train_labels: AnyArray
    """int64[N] in 0..num_classes-1; any integer type is converted."""
    test_images: AnyArray
    """Like train_images, [T, ...]; T may be 0."""
    test_labels: AnyArray
    """int64[T]."""
    class_names: tuple[str, ...]
    white: float = field(default=None)  # type: ignore[assignment]
    """The pixel value that `input_scaling: unit` maps to 1. Left out: 255 for uint8, 1 for float32."""
    notes: tuple[str, ...] = ()
    """What the reader of the data skipped or assumed, and why: a line each. The fingerprint does not cover them."""
    train_names: pa.LargeStringArray | None = None
    """Names of the examples, such as their files' paths below the root; any sequence of N strings is converted. The
    fingerprint does not cover them."""
    test_names: pa.LargeStringArray | None = None
    """Likewise, T strings."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", _checked_names(self.class_names))
        for name in ("train_images", "test_images"):
            _check_images(name, getattr(self, name))
        _check_alike(self.train_images, self.test_images)
        for split in ("train", "test"):
            count = len(getattr(self, f"{split}_images"))
            labels = _checked_labels(f"{split}_labels", getattr(self, f"{split}_labels"), count, self.num_classes)
            object.__setattr__(self, f"{split}_labels", labels)
        if not 1 <= self.num_train < MAX_EXAMPLES or self.num_test >= MAX_EXAMPLES:
            raise DataError(
                f"train_images: needs 1 to 2**31 - 1 examples, got {self.num_train} (and {self.num_test} test examples)"
            )
        white = (255.0 if self.train_images.dtype == np.uint8 else 1.0) if self.white is None else self.white
        if not isinstance(white, int | float | np.number) or not (math.isfinite(white) and white > 0):
            raise DataError(f"white: must be a number greater than 0, got {white!r}")
        object.__setattr__(self, "white", float(white))
        object.__setattr__(self, "notes", checked_notes(self.notes))
        for split, count in (("train", self.num_train), ("test", self.num_test)):
            names = checked_example_names(f"{split}_names", getattr(self, f"{split}_names"), count)
            object.__setattr__(self, f"{split}_names", names)

    @property
    def num_train(self) -> int:
        """N, the number of training examples."""
        return len(self.train_images)

    @property
    def num_test(self) -> int:
        """T, the number of test examples; may be 0."""
        return len(self.test_images)

    @property
    def num_classes(self) -> int:
        """Number of classes, also of those without an example."""
        return len(self.class_names)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example, (C, H, W) for images."""
        return tuple(self.train_images.shape[1:])

    @property
    def description(self) -> Description:
        """What the fingerprint does not cover."""
        return Description(self.class_names, self.notes, self.train_names, self.test_names)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of dtype, shapes, pixels, labels, number of classes and white, in canonical order."""
        arrays = {name: getattr(self, name) for name in ARRAYS}
        header = {
            "format": FINGERPRINT_FORMAT,
            "arrays": {name: [array.dtype.name, list(array.shape)] for name, array in arrays.items()},
            "classes": self.num_classes,
            "white": self.white,
        }
        digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
        for array in arrays.values():
            for chunk in chunks(array):
                digest.update(chunk.data)
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class CachedDataset(Dataset):
    """A data set that was checked and hashed when it was written to the cache."""

    known_fingerprint: str = ""

    def __post_init__(self) -> None:
        """Nothing to check again."""

    @cached_property
    def fingerprint(self) -> str:
        """See `Dataset.fingerprint`."""
        return self.known_fingerprint


def chunks(array: AnyArray) -> Iterator[AnyArray]:
    """The array's rows in order, in C-contiguous little-endian blocks of bounded size."""
    row_bytes = max(1, math.prod(array.shape[1:]) * array.dtype.itemsize)
    rows = max(1, _CHUNK_BYTES // row_bytes)
    for start in range(0, len(array), rows):
        yield np.ascontiguousarray(array[start : start + rows], dtype=array.dtype.newbyteorder("<"))


def _checked_names(names: Any) -> tuple[str, ...]:
    if isinstance(names, str) or not all(isinstance(name, str) for name in names) or len(names) == 0:
        raise DataError(f"class_names: must be one or more strings, got {names!r}")
    return tuple(names)


def _check_images(name: str, images: Any) -> None:
    if not isinstance(images, np.ndarray):
        raise DataError(f"{name}: must be a NumPy array, got {type(images).__name__}")
    if images.dtype not in (np.uint8, np.float32):
        raise DataError(f"{name}: must be uint8 or float32, got {images.dtype}")
    if images.dtype == np.uint8 and images.ndim != 4:
        hint = "; grey images lack their channel: images[:, None]" if images.ndim == 3 else ""
        raise DataError(f"{name}: uint8 images must be [N, C, H, W], got shape {list(images.shape)}{hint}")
    if images.ndim < 2 or 0 in images.shape[1:]:
        raise DataError(f"{name}: must be [N, ...] with at least one feature, got shape {list(images.shape)}")
    if images.dtype == np.uint8 and _is_channels_last(images.shape):
        raise DataError(
            f"{name}: must be [N, C, H, W], got shape {list(images.shape)}, which looks like [N, H, W, C]; "
            "transpose it: images.transpose(0, 3, 1, 2)"
        )
    start = 0
    for chunk in chunks(images) if images.dtype == np.float32 else ():
        wrong = ~np.isfinite(chunk).reshape(len(chunk), -1).all(axis=1)
        if wrong.any():
            raise DataError(f"{name}: must be finite, got NaN or infinity in example {start + int(wrong.argmax())}")
        start += len(chunk)


def _is_channels_last(shape: tuple[int, ...]) -> bool:
    """Whether [N, C, H, W] cannot be meant: as many channels as rows, or images three or four pixels wide."""
    _, channels, height, width = shape
    if channels in (1, 3, 4) or channels <= 4 or height <= 4:
        return False
    return width in (3, 4) or (width == 1 and channels == height)


def _check_alike(train: AnyArray, test: AnyArray) -> None:
    if train.dtype != test.dtype:
        raise DataError(f"test_images: must be {train.dtype} like train_images, got {test.dtype}")
    if train.shape[1:] != test.shape[1:]:
        raise DataError(
            f"test_images: must be [T, {', '.join(map(str, train.shape[1:]))}] like train_images, "
            f"got shape {list(test.shape)}"
        )


def _checked_labels(name: str, labels: Any, count: int, num_classes: int) -> AnyArray:
    if not isinstance(labels, np.ndarray) or not np.issubdtype(labels.dtype, np.integer):
        got = labels.dtype if isinstance(labels, np.ndarray) else type(labels).__name__
        raise DataError(f"{name}: must be a NumPy array of integers, got {got}")
    if labels.shape != (count,):
        raise DataError(f"{name}: must have shape [{count}], one label for each image, got {list(labels.shape)}")
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(wrong):
        raise DataError(
            f"{name}: must be 0 to {num_classes - 1} (class_names has {num_classes}), "
            f"got {labels[wrong[0]]} at example {wrong[0]}"
        )
    return labels.astype(np.int64, copy=False)
