"""Image folders."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.datasets.support import error_of, folder_spec, write_image
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


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda root: write_image(root / "val/dog/a.png"), "val/dog is a class without training images"),
        (lambda root: (root / "train/empty").mkdir(), "train/empty has no images (.png, "),
        (lambda root: shutil.rmtree(root / "train"), "train: No such file or directory"),
        (lambda root: [shutil.rmtree(root / "train" / name) for name in ("cat", "ant")], "train has no folders"),
    ],
)
def test_folders_that_are_no_data_set(folder: Path, change: Callable[[Path], Any], text: str) -> None:
    change(folder)
    assert text in error_of(lambda: load_dataset(folder_spec(folder)))
