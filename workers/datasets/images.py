"""Decodes encoded images (files or bytes) into a memory-mapped array of 8-bit pixels.

Transparent images are laid on white; 16-bit grey is scaled to 8 bits, 65,535 being white; of animations the first frame
is taken; EXIF orientation is ignored in every format, as torchvision ignores it in JPEG, or applied in every format, as
the Hugging Face hub's `datasets` does.
"""

import io
import math
import os
import struct
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from workers.campaign.dataset_spec import ImageOptions
from workers.common.arrays import AnyArray, UInt8s
from workers.datasets.cache import entry
from workers.datasets.image_findings import (
    CMYK,
    FRAMES,
    ORIENTATION,
    STRETCHED,
    TRANSPARENT,
    WIDE_COLOUR,
    FindingCounts,
    ImageFinding,
)
from workers.datasets.npy import write_npy
from workers.errors import DamagedDataError, DataError

FORMATS = ("PNG", "JPEG", "BMP", "DIB", "WEBP", "TIFF", "GIF", "PPM", "AVIF", "JPEG2000", "TGA")
"""What Pillow may decode, whatever files are called: not EPS, for which it starts Ghostscript."""
_BATCH = 64
_BATCH_BYTES = 1 << 26
"""Of a batch's pixels, where that is more than one image."""
_LARGE = 1 << 23
"""Pixels: a photo of more is decoded while no other large one is, and resized."""
_large = threading.RLock()
_BLOCK_BYTES = 1 << 26
"""Of Pillow's blocks of memory, 16 MB by default: blocks of more than 32 MB go back to the system as soon as they are
freed, while glibc keeps smaller ones for each thread (1.3 GB after four images of 88 megapixels, now none)."""
Image.core.set_block_size(_BLOCK_BYTES)  # type: ignore[attr-defined]
_STRIP = 64
"""Rows of a large image that are laid on white at a time; fewer pixels than _LARGE, as Pillow takes 65,535 a row."""
_WIDE_GREY = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_GREY = ("1", "L", "LA", "La", *_WIDE_GREY)


_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image of an EXIF orientation upright."""
_AS_STORED = {**_UPRIGHT, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
"""The inverse of it."""

_DAMAGED_TAGS = (OSError, EOFError, ValueError, SyntaxError, TypeError, LookupError, struct.error)
"""What Pillow raises on tags and later frames that are damaged; the pixels of the first frame may be whole."""


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


class DecodedSplits(NamedTuple):
    """uint8[N, C, H, W] and uint8[T, C, H, W], and notes on what decoding changed."""

    train: AnyArray
    test: AnyArray
    notes: tuple[str, ...]


def decode_splits(train: EncodedImages, test: EncodedImages, options: ImageOptions, scratch: Path) -> DecodedSplits:
    """Decode to memory maps of files in the scratch folder.

    Raises DataError, naming the image, where one is unreadable, a decompression bomb, or, while `options.size` is not
    given, of another size than the first, or all have more than _LARGE pixels.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        grey = _all_grey(options, chain(train.read(), test.read()))
        decode = partial(decode_image, grey=grey, options=options)
        first = next(iter(train.read()))
        _check_pixels(first, options)
        shape = decode(first)[0].shape
        paths = {"train": entry(scratch) / "train_images.npy", "test": entry(scratch) / "test_images.npy"}
        counts = FindingCounts()
        for path, split in zip(paths.values(), (train, test), strict=True):
            blocks = _blocks(split.read(), decode, shape, first.where, counts)
            write_npy(path, np.uint8, (split.count, *shape), blocks)
    decoded = {split: np.lib.format.open_memmap(path, mode="r") for split, path in paths.items()}
    return DecodedSplits(decoded["train"], decoded["test"], counts.notes(options))


def decode_image(encoded: EncodedImage, *, grey: bool, options: ImageOptions) -> tuple[UInt8s, ImageFinding]:
    """One image as uint8[1, H, W] (grey) or uint8[3, H, W]. Raises DataError where it is unreadable."""
    finding, size = ImageFinding(), options.size
    with _opened(encoded) as image:
        upright = _load(image, finding, apply=options.orientation == "exif")
        eight_bit = _eight_bit(image, finding)
        turned = eight_bit if upright is None else eight_bit.transpose(upright)
        mode = "L" if grey else "RGB"
        final = turned if turned.mode == mode else turned.convert(mode)  # of the same mode, Pillow would copy it
        if size is not None:
            if final.width != final.height:
                finding.kinds.add(STRETCHED)
            final = final.resize((size, size), Image.Resampling.BILINEAR)
        pixels = np.asarray(final)
        return (pixels[None] if grey else np.ascontiguousarray(pixels.transpose(2, 0, 1))), finding


def _check_pixels(first: EncodedImage, options: ImageOptions) -> None:
    """Raise DataError where images would stay larger than any model takes."""
    with _opened(first) as image:
        if options.size is None and image.width * image.height > _LARGE:
            raise DataError(
                f"{first.where}: is {image.width} x {image.height} pixels, more than {_LARGE:,}; set dataset.size to "
                "resize all"
            )


def _load(image: Image.Image, finding: ImageFinding, *, apply: bool) -> Image.Transpose | None:
    """Load the pixels; returns how to transpose them afterwards. Pillow itself applies the orientation of TIFF."""
    is_tiff = image.format == "TIFF"
    if image.mode in ("RGB", "RGBA", "LA", "L") and any("16" in _raw_mode(tile) for tile in getattr(image, "tile", ())):
        finding.kinds.add(WIDE_COLOUR)
    if is_tiff:
        orientation = _orientation(image)
        image.load()
    else:
        image.load()
        orientation = _orientation(image)
    if orientation != 1 and not apply:
        finding.kinds.add(ORIENTATION)
    if is_tiff:
        return None if apply else _AS_STORED.get(orientation)
    return _UPRIGHT.get(orientation) if apply else None


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1, as stored, where there is none or it is damaged."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
        return value if value in _UPRIGHT else 1
    except _DAMAGED_TAGS:
        return 1


def _raw_mode(tile: Any) -> str:
    """How a part of a file holds its pixels, such as RGB;16B."""
    arguments = tile[3]
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _all_grey(options: ImageOptions, images: Iterable[EncodedImage]) -> bool:
    """Whether the images become grey. Reads headers only, and for `auto` up to the first image in colour."""
    return options.channels == "grey" or (options.channels == "auto" and all(map(_is_grey, images)))


def _is_grey(encoded: EncodedImage) -> bool:
    with _opened(encoded) as image:
        return image.mode in _GREY


def _blocks(
    images: Iterable[EncodedImage],
    decode: Callable[[EncodedImage], tuple[UInt8s, ImageFinding]],
    shape: tuple[int, ...],
    first: str,
    counts: FindingCounts,
) -> Iterator[UInt8s]:
    """The images decoded in order, uint8[up to _BATCH, *shape]; Pillow decodes outside Python's lock, so by threads."""

    def decode_alike(encoded: EncodedImage) -> tuple[UInt8s, ImageFinding]:
        pixels, finding = decode(encoded)
        if pixels.shape != shape:
            (height, width), (first_height, first_width) = pixels.shape[1:], shape[1:]
            raise DataError(
                f"{encoded.where}: is {width} x {height} pixels, but {first} is {first_width} x {first_height}; "
                "set dataset.size to resize all"
            )
        return pixels, finding

    iterator = iter(images)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        while batch := list(islice(iterator, max(1, min(_BATCH, _BATCH_BYTES // math.prod(shape))))):
            decoded = list(pool.map(decode_alike, batch))
            for encoded, (_, finding) in zip(batch, decoded, strict=True):
                counts.add(encoded.where, finding)
            yield np.stack([pixels for pixels, _ in decoded]) if len(decoded) > 1 else decoded[0][0][None]


@contextmanager
def _opened(encoded: EncodedImage) -> Iterator[Image.Image]:
    content = encoded.content
    try:
        file = io.BytesIO(content) if isinstance(content, bytes) else content
        with Image.open(file, formats=FORMATS) as image, _turn(image):
            yield image
    except DataError:
        raise
    except UnidentifiedImageError as error:
        what = "is not an image that Pillow can read" if _is_filled(content) else "is empty, 0 bytes"
        raise DamagedDataError(f"{encoded.where}: {what}") from error
    except Exception as error:  # on damaged files Pillow's plugins raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DamagedDataError(f"{encoded.where}: cannot be read as an image ({reason})") from error


def _turn(image: Image.Image) -> AbstractContextManager[object]:
    """Large images are decoded one at a time: eight threads would hold several copies of 89 million pixels each."""
    return _large if image.width * image.height > _LARGE else nullcontext()


def _is_filled(content: str | bytes) -> bool:
    return bool(content) if isinstance(content, bytes) else Path(content).stat().st_size > 0


def _eight_bit(image: Image.Image, finding: ImageFinding) -> Image.Image:
    """The image in a mode that converts to L and RGB without loss of meaning."""
    if image.mode in _WIDE_GREY:
        values = np.asarray(image)
        finding.grey_range = (int(values.min()), int(values.max()))
        converted = Image.fromarray(_scaled(values))
    elif image.mode == "F":
        raise ValueError("floating-point pixels have no defined white")
    elif image.has_transparency_data:
        converted = _on_white(image, finding)
    else:
        if image.mode == "CMYK":
            finding.kinds.add(CMYK)
        converted = image.convert("L" if image.mode in _GREY else "RGB")
    if _has_more_frames(image):
        finding.kinds.add(FRAMES)
    return converted


def _on_white(image: Image.Image, finding: ImageFinding) -> Image.Image:
    if image.width * image.height > _LARGE:  # in strips: each step of a whole one takes 4 bytes a pixel
        whole = Image.new("RGB", image.size)
        for top in range(0, image.height, _STRIP):
            strip = image.crop((0, top, image.width, min(top + _STRIP, image.height)))
            whole.paste(_on_white(strip, finding), (0, top))
        return whole
    colours = image.convert("RGBA")
    if colours.getchannel("A").getextrema() != (255, 255):
        finding.kinds.add(TRANSPARENT)
    return Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours).convert("RGB")


def _has_more_frames(image: Image.Image) -> bool:
    """Whether it is an animation or has several pages. Phones put a preview behind a JPEG: that does not count."""
    try:
        return image.format in ("GIF", "TIFF", "WEBP", "PNG", "AVIF") and bool(getattr(image, "is_animated", False))
    except _DAMAGED_TAGS:
        return True


def _scaled(values: AnyArray) -> UInt8s:
    """16-bit grey values to 8 bits, rounded: 0 stays 0, 65535 becomes 255."""
    if values.min() < 0 or values.max() > 65_535:
        raise ValueError(f"grey values must be 0 to 65535, got {values.min()} to {values.max()}")
    wide = values.astype(np.uint32)
    wide *= 255
    wide += 32_767
    wide //= 65_535
    return wide.astype(np.uint8)
