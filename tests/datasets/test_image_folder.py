"""Image folders."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.datasets.support import error_of, folder_spec, reader_notes, save_array, write_image
from workers.datasets import images, load_dataset
from workers.datasets.image_findings import ImageFinding


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


@pytest.mark.slow
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
    assert reader_notes(folder_spec(folder)) == ("val is the test set",)


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
        "val is the test set",
        "test is not read: it has no class folders, so what is in it has no labels (files: 1)",
        "valid is not read: val is the test set",
        "5 files are not read, being not known as images (no suffix, .zip, .txt, .heic); for example train/cat/LICENSE",
        "1 file is not read, being in no class folder of train; for example train/labels.csv",
        "2 files are not read, being hidden; for example train/.ipynb_checkpoints",
        "1 file is not read, being no regular files; for example train/cat/pipe.png",
        "1 class of val without images, for example ant",
    )


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


def _test_is_train(root: Path) -> None:
    (root / "test").symlink_to("train")


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
            "ROOT/train/cat/x.png: is a broken link to gone",
        ),
        (lambda root: (root / "train/dog").symlink_to("gone"), "ROOT/train/dog: is a broken link to gone"),
        (lambda root: (root / "test").symlink_to("gone"), "ROOT/test: is a link to gone, which is no folder"),
        (_two_test_sets, "ROOT has TEST and Test; rename or move one"),
        (_test_is_train, "ROOT/test and ROOT/train are one folder"),
        (_circle, "ROOT/train/cat/again: is a link to a folder that it lies in"),
        (_not_utf8, "ROOT/train/caf\\xe9: the name of a class must be UTF-8; rename the folder"),
        (
            lambda root: save_array(root / "train/cat/f.tif", np.zeros((4, 4), np.float32)),
            "floating-point pixels have no defined",
        ),
        (
            lambda root: save_array(root / "train/cat/f.tif", np.full((4, 4), -1, np.int32)),
            "must be 0 to 65535, got -1 to -1",
        ),
    ],
)
def test_folders_that_are_no_data_set(folder: Path, change: Callable[[Path], Any], text: str) -> None:
    change(folder)
    assert text.replace("ROOT", str(folder)) in error_of(lambda: load_dataset(folder_spec(folder)))


def test_large_transparent_images_are_laid_on_white_in_strips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    for mode, depth in (("RGBA", 4), ("LA", 2)):
        image = Image.fromarray(random.integers(0, 256, (150, 40, depth), dtype=np.uint8), mode)
        whole = np.asarray(images._on_white(image, ImageFinding()))
        with monkeypatch.context() as patch:
            patch.setattr(images, "_LARGE", 64 * 40)
            np.testing.assert_array_equal(np.asarray(images._on_white(image, ImageFinding())), whole)


def test_a_folder_that_vanishes_while_folders_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of /proc do: without a training folder, the others are looked into for one."""
    (tmp_path / "there").mkdir()
    whole = os.scandir

    def scan(path: Any) -> Any:
        if Path(path) == tmp_path / "there":
            (tmp_path / "there").rmdir()
        return whole(path)

    monkeypatch.setattr(os, "scandir", scan)
    assert "has no folder train" in error_of(lambda: load_dataset(folder_spec(tmp_path)))
