"""What becomes of the pixels of image files."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.datasets.support import error_of, folder_spec, reader_notes, save_array, write_image
from workers.datasets import load_dataset


@pytest.mark.parametrize(
    ("mode", "colour", "extension", "pixel"),
    [
        ("L", 7, "png", [7]),
        ("1", 1, "png", [255]),
        ("LA", (0, 0), "png", [255]),
        ("I;16", 65_535, "png", [255]),
        ("I;16", 32_768, "tif", [128]),
        ("I", 65_535, "pgm", [255]),
        ("RGB", (1, 2, 3), "ppm", [1, 2, 3]),
        ("RGBA", (255, 0, 0, 255), "png", [255, 0, 0]),
        ("RGBA", (0, 0, 0, 0), "webp", [255, 255, 255]),
        ("CMYK", (0, 0, 0, 255), "tif", [0, 0, 0]),
    ],
)
def test_pixel_modes(tmp_path: Path, mode: str, colour: Any, extension: str, pixel: list[int]) -> None:
    write_image(tmp_path / "train" / "a" / f"image.{extension}", colour, mode)
    dataset = load_dataset(folder_spec(tmp_path))
    assert dataset.train_images[0, :, 0, 0].tolist() == pixel


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    image = Image.new("P", (2, 2), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    (tmp_path / "train/a").mkdir(parents=True)
    image.save(tmp_path / "train/a/i.png")
    assert load_dataset(folder_spec(tmp_path)).train_images[0, :, 0, 0].tolist() == [10, 20, 30]


def test_channels_grey_rgb_and_auto(tmp_path: Path) -> None:
    write_image(tmp_path / "train/a/grey.png", 100, "L")
    write_image(tmp_path / "test/a/grey.png", 50, "L")
    assert load_dataset(folder_spec(tmp_path)).input_shape == (1, 4, 4)
    assert load_dataset(folder_spec(tmp_path, channels="rgb")).train_images[0, :, 0, 0].tolist() == [100] * 3
    write_image(tmp_path / "test/a/red.png", (255, 0, 0))
    assert load_dataset(folder_spec(tmp_path)).input_shape == (3, 4, 4)
    assert load_dataset(folder_spec(tmp_path, channels="grey")).test_images[1, 0, 0, 0] == 76


def test_images_of_several_sizes_need_a_size(folder: Path) -> None:
    write_image(folder / "train/cat/c.png", size=(6, 5))
    text = error_of(lambda: load_dataset(folder_spec(folder)))
    assert text.startswith(f"{folder}/train/cat/c.png: is 6 x 5 pixels, but {folder}/train/ant/z.bmp is 4 x 4")
    assert load_dataset(folder_spec(folder, size=3)).train_images.shape == (4, 3, 3, 3)


def test_unreadable_images_are_named(folder: Path) -> None:
    (folder / "train/cat/c.png").write_bytes(b"no image")
    assert f"{folder}/train/cat/c.png: is not an image" in error_of(lambda: load_dataset(folder_spec(folder)))
    write_image(folder / "train/cat/c.png", size=(40, 40))
    (folder / "train/cat/c.png").write_bytes((folder / "train/cat/c.png").read_bytes()[:60])
    assert f"{folder}/train/cat/c.png: cannot be read" in error_of(lambda: load_dataset(folder_spec(folder)))


def test_decompression_bombs_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(folder / "train/cat/bomb.png", size=(12, 12))
    for limit in (100, 50):  # Pillow warns beyond its limit, and refuses beyond twice the limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        assert "bomb" in error_of(lambda: load_dataset(folder_spec(folder, size=4)))


def write_oriented(path: Path, orientation: int, **options: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.frombytes("L", (2, 2), bytes([0, 100, 200, 250])).save(path, exif=exif, **options)


@pytest.mark.parametrize(
    ("extension", "options"),
    [
        ("png", {}),
        ("tif", {}),
        ("tif", {"compression": "tiff_lzw"}),
        ("webp", {"lossless": True}),
        ("jpg", {"quality": 100}),
    ],
)
def test_orientation_is_one_rule_for_all_formats(tmp_path: Path, extension: str, options: dict[str, Any]) -> None:
    for orientation in range(1, 9):
        write_oriented(tmp_path / f"train/a/{orientation}.{extension}", orientation, **options)
    stored, applied = (
        load_dataset(folder_spec(tmp_path, channels="grey", orientation=how)) for how in ("ignore", "exif")
    )
    pixels = np.rint(stored.train_images[:, 0] / 10).astype(int)
    first = pixels[0]
    assert first.tolist() == [[0, 10], [20, 25]]
    assert (pixels == first).all()
    expected = [
        *(first, first[:, ::-1], first[::-1, ::-1], first[::-1]),
        *(first.T, np.rot90(first, -1), first[::-1, ::-1].T, np.rot90(first)),
    ]
    assert np.rint(applied.train_images[:, 0] / 10).astype(int).tolist() == np.array(expected).tolist()
    (note,) = reader_notes(folder_spec(tmp_path))
    assert note.startswith("7 images with an EXIF orientation, which is ignored (dataset.orientation: exif applies it)")
    assert reader_notes(folder_spec(tmp_path, orientation="exif")) == ()
    assert stored.fingerprint != applied.fingerprint


NEARLY_BLACK = (
    "1 image in grey of more than 8 bits: values 4,095 to 4,095 were found, and 65,535 becomes white, so they are "
    "nearly black: scale the values in the files; for example "
)


def save_frames(path: Path) -> None:
    save_array(path, np.zeros((2, 2), np.uint8), save_all=True, append_images=[Image.new("L", (2, 2), 9)])


@pytest.mark.parametrize(
    ("write", "note"),
    [
        (lambda path: save_array(path / "x.png", np.full((2, 2), 4095, np.uint16)), NEARLY_BLACK),
        (lambda path: save_array(path / "x.tif", np.array([[0, 255]], np.int32)), "values 0 to 255 were found"),
        (lambda path: save_array(path / "x.png", np.array([[0, 65535]], np.uint16)), "65,535 becomes white; for"),
        (lambda path: write_image(path / "x.png", (0, 0, 0, 7), "RGBA"), "1 image with transparency, laid on white"),
        (lambda path: write_image(path / "x.png", (0, 7), "LA"), "1 image with transparency, laid on white"),
        (lambda path: write_image(path / "x.jpg", (0, 0, 0, 7), "CMYK"), "1 image in CMYK, converted to RGB without"),
        (lambda path: save_frames(path / "x.gif"), "1 image with several frames, of which the first is taken"),
        (lambda path: save_frames(path / "x.tif"), "1 image with several frames"),
        (
            lambda path: (path.mkdir(parents=True), (path / "x.png").write_bytes(png_of_16_bit_colour())),
            "1 image in colour of 16 bits, of which the upper 8 are taken; for example ",
        ),
    ],
)  # fmt: skip
def test_what_decoding_changes_is_noted(tmp_path: Path, write: Callable[[Path], Any], note: str) -> None:
    write(tmp_path / "train/a")
    assert any(note in each for each in reader_notes(folder_spec(tmp_path)))


def png_of_16_bit_colour() -> bytes:
    """Pillow writes none: 1 x 1 pixel, RGB of 16 bits."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">2I5B", 1, 1, 16, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" + struct.pack(">3H", 4095, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_opaque_images_and_squares_are_not_noted(tmp_path: Path) -> None:
    write_image(tmp_path / "train/a/x.png", (1, 2, 3, 255), "RGBA")
    assert reader_notes(folder_spec(tmp_path, size=2)) == ()
    write_image(tmp_path / "train/a/y.png", size=(8, 4))
    (note,) = reader_notes(folder_spec(tmp_path, size=2))
    assert note == f"1 image not square, stretched to 2 x 2 pixels; for example {tmp_path}/train/a/y.png"
