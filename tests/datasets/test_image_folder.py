"""Image folders."""

import os
import shutil
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.datasets.support import error_of, folder_spec, reader_notes, write_image
from workers.datasets import load_dataset


def test_an_image_folder_is_sorted_by_class_and_file(folder: Path) -> None:
    (folder / "train/cat/.hidden.png").write_bytes(b"no image")
    (folder / "train/cat/notes.txt").write_text("no image")
    (folder / "train/.cache").mkdir()
    dataset = load_dataset(folder_spec(folder))
    assert dataset.class_names == ("ant", "cat")
    assert dataset.train_labels.tolist() == [0, 1, 1]
    assert dataset.train_images[:, 0, 0, 0].tolist() == [2, 1, 0]
    assert dataset.train_images[0, :, 3, 3].tolist() == [2, 10, 20]
    assert dataset.test_labels.tolist() == [1]


def test_a_test_folder_is_optional(folder: Path) -> None:
    shutil.rmtree(folder / "val")
    dataset = load_dataset(folder_spec(folder))
    assert dataset.test_images.shape == (0, 3, 4, 4)
    assert dataset.num_test == 0


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations([(label, name) for label in ("x", "y") for name in ("1.png", "10.png", "2.png")]))
def test_the_order_of_creation_does_not_matter(order: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as place:
        monkeypatch.setenv("LONGTAIL_CACHE", f"{place}/cache")
        for label, name in order:
            write_image(Path(place) / "train" / label / name, (ord(label), len(name), int(name[0])))
        dataset = load_dataset(folder_spec(Path(place)))
        assert dataset.train_images[:, :, 0, 0].tolist() == [
            [ord(label), len(name), int(name[0])] for label in ("x", "y") for name in ("1.png", "10.png", "2.png")
        ]


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


def _without_suffix(root: Path) -> None:
    (root / "train/cat/b.png").rename(root / "train/cat/b")


def _as_jfif(root: Path) -> None:
    Image.new("RGB", (4, 4), (0, 10, 20)).save(root / "train/cat/b.jfif", "JPEG", quality=100)
    (root / "train/cat/b.png").unlink()


def _nested(root: Path) -> None:
    (root / "train/cat/deep/er").mkdir(parents=True)
    (root / "train/cat/b.png").rename(root / "train/cat/deep/er/b.png")


def _linked(root: Path) -> None:
    (root / "elsewhere").mkdir()
    (root / "train/cat/b.png").rename(root / "elsewhere/b.png")
    (root / "train/cat/link").symlink_to(root / "elsewhere")


@pytest.mark.parametrize("change", [_without_suffix, _as_jfif, _nested, _linked])
def test_images_are_read_wherever_torchvision_or_pillow_reads_them(
    folder: Path, change: Callable[[Path], None]
) -> None:
    change(folder)
    dataset = load_dataset(folder_spec(folder))
    assert sorted(dataset.train_images[dataset.train_labels == 1, 0, 0, 0].tolist()) == [0, 1]
    assert reader_notes(folder_spec(folder)) == ()


def test_the_order_is_torchvisions(tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    names = ("b.png", "a/z.png", "a.png", "a/b/1.png", "a-1/2.png", "a b/3.png", "A/0.png", "z.png")
    for number, name in enumerate(names):
        write_image(tmp_path / "train/x" / name, number, "L")
        write_image(tmp_path / "train/Y" / name, number + 100, "L")
    expected = [int(image.getpixel((0, 0))[0]) for image, _ in ImageFolder(str(tmp_path / "train"))]
    assert load_dataset(folder_spec(tmp_path)).train_images[:, 0, 0, 0].tolist() == expected


@pytest.mark.parametrize("name", ["valid", "validation", "Test", "TESTING", "dev"])
def test_test_sets_of_other_names_are_read(folder: Path, name: str) -> None:
    (folder / "val").rename(folder / name)
    (folder / "train").rename(folder / "Train")
    assert load_dataset(folder_spec(folder)).num_test == 1


def test_what_is_not_read_is_noted(folder: Path) -> None:
    for name in ("x.txt", "y.heic", "cats.zip", ".hidden.png", "Thumbs.db", ".DS_Store", "._b.png"):
        (folder / "train/cat" / name).write_bytes(b"no image")
    for name in ("__MACOSX/cat/._b.png", ".ipynb_checkpoints/c.png", "labels.csv"):
        write_image(folder / "train" / name, 0) if name.endswith("png") else (folder / "train" / name).write_text("")
    (folder / "train/cat/LICENSE").write_text("P5 is how PGM files begin")
    (folder / "train/cat/README").write_text("BM is how bitmaps begin")
    os.mkfifo(folder / "train/cat/pipe.png")
    (folder / "val/ant").mkdir()
    write_image(folder / "test/a.png")
    write_image(folder / "valid/cat/a.png")
    dataset = load_dataset(folder_spec(folder))
    assert (dataset.num_train, dataset.num_test, dataset.class_names) == (3, 1, ("ant", "cat"))
    assert reader_notes(folder_spec(folder)) == (
        "test is not read: it has no class folders, so what is in it has no labels (files: 1)",
        "valid is not read: val is the test set",
        "5 files are not read, being not known as images (no suffix, .zip, .txt, .heic); for example train/cat/LICENSE",
        "1 file is not read, being in no class folder of train; for example train/labels.csv",
        "2 files are not read, being hidden; for example train/.ipynb_checkpoints",
        "1 file is not read, being no regular files; for example train/cat/pipe.png",
        "1 class of val without images, for example ant",
    )


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


def _save_frames(path: Path) -> None:
    _save(path, np.zeros((2, 2), np.uint8), save_all=True, append_images=[Image.new("L", (2, 2), 9)])


def _save(path: Path, array: Any, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


@pytest.mark.parametrize(
    ("write", "note"),
    [
        (lambda path: _save(path / "x.png", np.full((2, 2), 4095, np.uint16)), NEARLY_BLACK),
        (lambda path: _save(path / "x.tif", np.array([[0, 255]], np.int32)), "values 0 to 255 were found"),
        (lambda path: _save(path / "x.png", np.array([[0, 65535]], np.uint16)), "found, and 65,535 becomes white; for"),
        (lambda path: write_image(path / "x.png", (0, 0, 0, 7), "RGBA"), "1 image with transparency, laid on white"),
        (lambda path: write_image(path / "x.png", (0, 7), "LA"), "1 image with transparency, laid on white"),
        (lambda path: write_image(path / "x.jpg", (0, 0, 0, 7), "CMYK"), "1 image in CMYK, converted to RGB without"),
        (lambda path: _save_frames(path / "x.gif"), "1 image with several frames, of which the first is taken"),
        (lambda path: _save_frames(path / "x.tif"), "1 image with several frames"),
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


def _add_file(name: str, content: bytes = b"") -> Callable[[Path], Any]:
    def add(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)

    return add


def _not_utf8(root: Path) -> None:
    os.mkdir(os.fsencode(root) + b"/train/caf\xe9")  # noqa: PTH102


def _only_classes(root: Path) -> None:
    for name in ("cat", "ant"):
        (root / "train" / name).rename(root / name)
    shutil.rmtree(root / "train")


def _one_level_down(root: Path) -> None:
    (root / "data").mkdir()
    (root / "train").rename(root / "data/train")


def _two_test_sets(root: Path) -> None:
    (root / "val").rename(root / "Test")
    shutil.copytree(root / "Test", root / "TEST")


def _no_classes(root: Path) -> None:
    shutil.rmtree(root / "train")
    (root / "train").mkdir()


def _circle(root: Path) -> None:
    (root / "train/cat/again").symlink_to(root / "train")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda root: write_image(root / "val/dog/a.png"), "val/dog is a class without training images"),
        (
            lambda root: write_image(root / "val/CAT/a.png"),
            "(which has 'cat', differing in case, blanks or Unicode form",
        ),
        (lambda root: (root / "train/empty").mkdir(), "train/empty has no images (.png, "),
        (_add_file("train/raw/a.heic"), "; other files: 1, for example ROOT/train/raw/a.heic"),
        (_add_file("train/cat/void.png"), "ROOT/train/cat/void.png: is empty, 0 bytes"),
        (
            lambda root: shutil.rmtree(root / "train"),
            "ROOT has no folder train; where its folders (val) are the classes",
        ),
        (
            _only_classes,
            "ROOT has no folder train; where its folders (ant, cat, val) are the classes, move them into ROOT/tr",
        ),
        (_one_level_down, "ROOT has no folder train, but ROOT/data has one: name that folder"),
        (_no_classes, "train has no folders"),
        (
            lambda root: (root / "train/cat/x.png").symlink_to("gone"),
            "ROOT/train/cat/x.png: is a link to gone, which is not",
        ),
        (lambda root: (root / "train/dog").symlink_to("gone"), "ROOT/train/dog: is a link to gone, which is not there"),
        (lambda root: (root / "test").symlink_to("gone"), "ROOT/test: is a link to gone, which is no folder"),
        (_two_test_sets, "ROOT has TEST and Test; rename or move one"),
        (_circle, "ROOT/train/cat/again: is a link to a folder that it lies in"),
        (_not_utf8, "ROOT/train/caf\\xe9: the name of a class must be UTF-8; rename the folder"),
        (
            lambda root: _save(root / "train/cat/f.tif", np.zeros((4, 4), np.float32)),
            "floating-point pixels have no defined",
        ),
        (
            lambda root: _save(root / "train/cat/f.tif", np.full((4, 4), -1, np.int32)),
            "must be 0 to 65535, got -1 to -1",
        ),
    ],
)
def test_folders_that_are_no_data_set(folder: Path, change: Callable[[Path], Any], text: str) -> None:
    change(folder)
    assert text.replace("ROOT", str(folder)) in error_of(lambda: load_dataset(folder_spec(folder)))
