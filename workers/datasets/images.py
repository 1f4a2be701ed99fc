"""Encoded images (files or bytes) decoded to one array of 8-bit pixels, without holding all of them in memory.

Transparent images are laid on white; 16-bit grey is scaled to 8 bits; of animations the first frame is taken; EXIF
orientation is ignored, as torchvision ignores it.
"""

import io
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from workers.datasets.cache import entry
from workers.datasets.dataset import Array
from workers.datasets.npy import write_npy
from workers.errors import DataError
from workers.specs import ImageOptions

Pixels = npt.NDArray[np.uint8]

_BATCH = 64
_WIDE_GREY = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_GREY = ("1", "L", "LA", "La", *_WIDE_GREY)


@dataclass(frozen=True)
class EncodedImage:
    """One image: its file or bytes, and what messages call it."""

    where: str
    content: str | bytes


@dataclass(frozen=True)
class EncodedImages:
    """A split's images in canonical order; each call of `read` starts anew."""

    count: int
    read: Callable[[], Iterable[EncodedImage]]


def decode_splits(
    train: EncodedImages, test: EncodedImages, options: ImageOptions, scratch: Path
) -> tuple[Array, Array]:
    """Decode to uint8[N, C, H, W] and uint8[T, C, H, W], memory maps of files in the scratch folder.

    Raises DataError, naming the image, where one is unreadable, a decompression bomb, or of another size than the first
    while `options.size` is not given.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        grey = _all_grey(options, chain(train.read(), test.read()))
        decode = partial(decode_image, grey=grey, size=options.size)
        first = next(iter(train.read()))
        shape = decode(first).shape
        paths = {"train": entry(scratch) / "train_images.npy", "test": entry(scratch) / "test_images.npy"}
        for path, split in zip(paths.values(), (train, test), strict=True):
            blocks = _blocks(split.read(), decode, shape, first.where)
            write_npy(path, np.uint8, (split.count, *shape), blocks)
    return tuple(np.lib.format.open_memmap(path, mode="r") for path in paths.values())  # type: ignore[return-value]


def decode_image(encoded: EncodedImage, *, grey: bool, size: int | None) -> Pixels:
    """One image as uint8[1, H, W] (grey) or uint8[3, H, W]. Raises DataError where it is unreadable."""
    with _opened(encoded) as image:
        image = _eight_bit(image).convert("L" if grey else "RGB")
        if size is not None:
            image = image.resize((size, size), Image.Resampling.BILINEAR)
        pixels = np.asarray(image)
        return pixels[None] if grey else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _all_grey(options: ImageOptions, images: Iterable[EncodedImage]) -> bool:
    """Whether the images become grey. Reads headers only, and for `auto` up to the first image in colour."""
    return options.channels == "grey" or (options.channels == "auto" and all(map(_is_grey, images)))


def _is_grey(encoded: EncodedImage) -> bool:
    with _opened(encoded) as image:
        return image.mode in _GREY


def _blocks(
    images: Iterable[EncodedImage], decode: Callable[[EncodedImage], Pixels], shape: tuple[int, ...], first: str
) -> Iterator[Pixels]:
    """The images decoded in order, uint8[up to _BATCH, *shape]; Pillow decodes outside Python's lock, so by threads."""

    def decode_alike(encoded: EncodedImage) -> Pixels:
        pixels = decode(encoded)
        if pixels.shape != shape:
            (height, width), (first_height, first_width) = pixels.shape[1:], shape[1:]
            raise DataError(
                f"{encoded.where}: is {width} x {height} pixels, but {first} is {first_width} x {first_height}; "
                "set dataset.size to resize all"
            )
        return pixels

    iterator = iter(images)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        while batch := list(islice(iterator, _BATCH)):
            yield np.stack(list(pool.map(decode_alike, batch)))


@contextmanager
def _opened(encoded: EncodedImage) -> Iterator[Image.Image]:
    content = encoded.content
    try:
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as image:
            yield image
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(f"{encoded.where}: is not an image that Pillow can read") from error
    except Exception as error:  # on damaged files Pillow's plugins raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{encoded.where}: cannot be read as an image ({reason})") from error


def _eight_bit(image: Image.Image) -> Image.Image:
    """The image in a mode that converts to L and RGB without loss of meaning."""
    if image.mode in _WIDE_GREY:
        return Image.fromarray(_scaled(np.asarray(image)))
    if image.mode == "F":
        raise ValueError("floating-point pixels have no defined white")
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours).convert("RGB")
    return image.convert("L" if image.mode in _GREY else "RGB")


def _scaled(values: Array) -> Pixels:
    """16-bit grey values to 8 bits, rounded: 0 stays 0, 65535 becomes 255."""
    wide = values.astype(np.int64)
    if wide.min() < 0 or wide.max() > 65_535:
        raise ValueError(f"grey values must be 0 to 65535, got {wide.min()} to {wide.max()}")
    return ((wide * 255 + 32_767) // 65_535).astype(np.uint8)
