"""The cache survives everything."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.datasets.support import (
    REPOSITORY,
    error_of,
    folder_spec,
    make_dataset,
    torchvision_spec,
    write_image,
    write_mnist,
)
from workers.campaign.dataset_spec import Digits, ImageFolder
from workers.datasets import Dataset, image_folder, load_dataset
from workers.datasets.cache import cache_root
from workers.datasets.description import write_names


def test_files_are_decoded_once_and_again_when_they_change(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_dataset(folder_spec(folder))
    decode, decoded = image_folder.decode, []

    def counted(spec: ImageFolder, scratch: Path) -> Dataset:
        decoded.append(spec)
        return decode(spec, scratch)

    monkeypatch.setattr(image_folder, "decode", counted)
    assert load_dataset(folder_spec(folder)).fingerprint == first.fingerprint
    assert not decoded
    write_image(folder / "train/cat/b.png", (200, 1, 1))
    os.utime(folder / "train/cat/b.png", ns=(1, 1))
    assert load_dataset(folder_spec(folder)).fingerprint != first.fingerprint
    assert len(decoded) == 1


def _swap_contents(root: Path) -> None:
    first, second = root / "train/ant/1.png", root / "train/cat/1.png"
    contents = first.read_bytes(), second.read_bytes()
    times = first.stat().st_mtime_ns
    for file, content in zip((second, first), contents, strict=True):
        file.write_bytes(content)
        os.utime(file, ns=(times, times))


def _swap_files(root: Path) -> None:
    (root / "train/ant/1.png").rename(root / "away")
    (root / "train/cat/1.png").rename(root / "train/ant/1.png")
    (root / "away").rename(root / "train/cat/1.png")


def _swap_folders(root: Path) -> None:
    (root / "train/ant").rename(root / "away")
    (root / "train/cat").rename(root / "train/ant")
    (root / "away").rename(root / "train/cat")


def _swap_links(root: Path) -> None:
    for name, other in (("ant", "cat"), ("cat", "ant")):
        (root / f"train/{name}/1.png").rename(root / f"{name}.png")
        (root / f"train/{name}/1.png").symlink_to(root / f"{other}.png")


@pytest.mark.parametrize("swap", [_swap_contents, _swap_files, _swap_folders, _swap_links])
def test_labels_corrected_by_swapping_are_seen(tmp_path: Path, swap: Callable[[Path], None]) -> None:
    """Paths, sizes and times of modification stay; so must not the data."""
    root = tmp_path / "images"
    for name, colour in (("ant", 10), ("cat", 200)):
        write_image(root / f"train/{name}/1.png", (colour, 0, 0))
        os.utime(root / f"train/{name}/1.png", ns=(10**18, 10**18))
    sizes = {file.stat().st_size for file in root.rglob("*.png")}
    first = load_dataset(folder_spec(root))
    swap(root)
    assert {(file.stat().st_size, file.stat().st_mtime_ns) for file in root.glob("train/*/*")} == {(*sizes, 10**18)}
    assert load_dataset(folder_spec(root)).train_images[:, 0, 0, 0].tolist() == [200, 10]
    assert first.train_images[:, 0, 0, 0].tolist() == [10, 200]


@pytest.mark.parametrize("change", ["written", "added", "removed"])
def test_files_that_change_while_they_are_read_are_refused(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    decode = image_folder.decode

    def disturbed(spec: ImageFolder, scratch: Path) -> Dataset:
        dataset = decode(spec, scratch)
        match change:
            case "written":
                write_image(folder / "train/cat/b.png", (7, 7, 7))
            case "added":
                write_image(folder / "val/cat/z.png", (7, 7, 7))
            case "removed":
                (folder / "train/cat/b.png").unlink()
        return dataset

    with monkeypatch.context() as patch:
        patch.setattr(image_folder, "decode", disturbed)
        text = error_of(lambda: load_dataset(folder_spec(folder)))
    assert text.startswith(str(folder))
    assert "was changed, added or removed while the data set was read" in text
    assert not list(cache.glob("datasets/*"))
    assert load_dataset(folder_spec(folder)).num_train == (2 if change == "removed" else 3)


def test_a_fingerprint_is_opened_without_the_files_and_compared_with_them(folder: Path) -> None:
    dataset = load_dataset(folder_spec(folder))
    shutil.move(folder, folder.with_name("away"))
    assert load_dataset(folder_spec(folder), dataset.fingerprint).num_train == 3
    shutil.move(folder.with_name("away"), folder)
    for other in ("0" * 64, "../../etc"):
        text = error_of(partial(load_dataset, folder_spec(folder), other))
        assert text == f"data set: expected fingerprint {other}, got {dataset.fingerprint}"


def test_the_cached_fingerprint_is_not_computed_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = load_dataset(folder_spec(folder)).fingerprint
    monkeypatch.setattr("workers.datasets.dataset.chunks", None)
    assert load_dataset(folder_spec(folder)).fingerprint == known


@pytest.mark.parametrize("damage", ["missing", "short", "long", "dtype", "garbage", "meta"])
def test_a_damaged_entry_is_built_again(folder: Path, cache: Path, damage: str) -> None:
    dataset = load_dataset(folder_spec(folder))
    pixels, fingerprint = np.array(dataset.train_images), dataset.fingerprint
    entry = cache / "datasets" / fingerprint
    file = entry / "train_images.npy"
    content = file.read_bytes()
    match damage:
        case "missing":
            file.unlink()
        case "short":
            file.write_bytes(content[:-1])
        case "long":
            file.write_bytes(content + b"x")
        case "dtype":
            file.write_bytes(content.replace(b"|u1", b"|i1"))
        case "garbage":
            file.write_bytes(b"PK\x03\x04" + content[4:])
        case "meta":
            (entry / "meta.json").write_text("[1")
    for expected in (None, fingerprint):
        again = load_dataset(folder_spec(folder), expected)
        np.testing.assert_array_equal(again.train_images, pixels)
    assert sorted(path.name for path in entry.iterdir()) == [
        "meta.json", "test_images.npy", "test_labels.npy", "train_images.npy", "train_labels.npy",
    ]  # fmt: skip


def test_a_damaged_source_record_is_written_again(folder: Path, cache: Path) -> None:
    load_dataset(folder_spec(folder))
    (record,) = (cache / "sources").glob("*.json")
    record.write_text("{")
    load_dataset(folder_spec(folder))
    assert "fingerprint" in json.loads(record.read_text())


@pytest.mark.parametrize("damage", ["none", "names missing", "names garbage", "names of another set", "old record"])
def test_names_and_notes_come_with_the_files(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    decode, decoded = image_folder.decode, []

    def described(spec: ImageFolder, scratch: Path) -> Dataset:
        decoded.append(spec)
        return replace(decode(spec, scratch), train_names=["é", "b", "b"], test_names=None, notes=("2 files skipped",))

    monkeypatch.setattr(image_folder, "decode", described)
    load_dataset(folder_spec(folder))
    names, record = sorted((cache / "sources").iterdir())
    match damage:
        case "names missing":
            names.unlink()
        case "names garbage":
            names.write_bytes(names.read_bytes()[:-8])
        case "names of another set":
            write_names(names, make_dataset(train_names=["a", "b", "c", "d"]).description, (4, 2))
        case "old record":
            record.write_text(json.dumps({"fingerprint": "0" * 64, "class_names": ["ant", "cat"]}))
    for _ in range(2):
        dataset = load_dataset(folder_spec(folder))
        assert dataset.train_names is not None
        assert dataset.train_names.to_pylist() == ["é", "b", "b"]
        assert (dataset.test_names, dataset.notes[0]) == (None, "2 files skipped")
    assert len(decoded) == (1 if damage == "none" else 2)


CHILD = """
import os, sys, time
from pathlib import Path
from workers.datasets import image_folder, load_dataset
from workers.campaign.dataset_spec import CustomData, ImageFolder

decode = image_folder.decode

def slow(spec, scratch):
    with open(sys.argv[2], "a") as log:
        log.write("decoded ")
    time.sleep(0.5)
    return decode(spec, scratch)

image_folder.decode = slow
print(load_dataset(ImageFolder(name="image-folder", root=sys.argv[1])).fingerprint)
"""


@pytest.mark.slow
def test_two_processes_decode_once(folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", CHILD, str(folder), str(log)]
    children = [subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    prints = {child.communicate(timeout=60)[0].strip() for child in children}
    assert [child.returncode for child in children] == [0, 0]
    assert prints == {load_dataset(folder_spec(folder)).fingerprint}
    assert log.read_text().split() == ["decoded"]


def killed_at(step: int, action: Callable[[], Any]) -> bool:
    """Run in a forked process that kills itself before its step-th call of fsync or rename; False: it had fewer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on forking beside threads
        child = os.fork()
    if child == 0:
        remaining = [step]

        def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any) -> Any:
                remaining[0] -= 1
                if remaining[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*args)

            return call

        try:
            os.fsync, Path.rename = deadly(os.fsync), deadly(Path.rename)  # type: ignore[method-assign]
            Path.replace = deadly(Path.replace)  # type: ignore[method-assign]
            action()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.slow
def test_a_writer_killed_at_any_step_leaves_nothing_wrong_or_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mnist(tmp_path / "MNIST" / "raw", pack=True)
    spec = torchvision_spec("mnist", tmp_path)
    expected = load_dataset(spec).fingerprint
    step = 1
    while True:
        root = tmp_path / f"cache{step}"
        monkeypatch.setenv("LONGTAIL_CACHE", str(root))
        if not killed_at(step, lambda: load_dataset(spec)):
            break
        assert list((root / "scratch").iterdir())
        load_dataset(Digits())  # another data set removes the leftover too
        assert not list((root / "scratch").iterdir())
        dataset = load_dataset(spec)
        assert dataset.fingerprint == expected
        assert Dataset(*(getattr(dataset, name) for name in NAMES)).fingerprint == expected
        step += 1
    assert step > 8  # five files, the folders, two renames


NAMES = ("train_images", "train_labels", "test_images", "test_labels", "class_names")


def test_a_cache_that_cannot_be_made_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LONGTAIL_CACHE", str(tmp_path / "file" / "cache"))
    text = error_of(lambda: load_dataset(Digits()))
    assert str(tmp_path / "file") in text
    assert "LONGTAIL_CACHE" in text


def test_a_full_cache_names_the_variable(cache: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        text = error_of(lambda: load_dataset(Digits()))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "train_images.npy: File too large; set LONGTAIL_CACHE" in text
    assert not list((cache / "scratch").iterdir())
    assert load_dataset(Digits()).num_train == 1437


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Without the right to write: as `nobody` where the tests run as root, whom permissions do not stop."""
    if os.geteuid() == 0:
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)
    else:
        everything = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
        for path in everything:
            path.chmod(0o555)
        try:
            yield
        finally:
            for path in everything:
                path.chmod(0o755)


def test_a_read_only_cache_serves_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        monkeypatch.setenv("LONGTAIL_CACHE", place)
        write_image(Path(place) / "images/train/a/1.png")
        dataset = load_dataset(Digits())
        with read_only(Path(place)):
            assert load_dataset(Digits(), dataset.fingerprint).num_train == 1437
            write_nothing = load_dataset(Digits())
            text = error_of(lambda: load_dataset(folder_spec(Path(place) / "images")))
        assert write_nothing.fingerprint == dataset.fingerprint
        assert "Permission denied; set LONGTAIL_CACHE" in text


@pytest.mark.parametrize(
    ("own", "xdg", "root"),
    [
        ("", "", "/home/a/.cache/longtail"),
        ("", "/x y", "/x y/longtail"),
        ("", "relative", "/home/a/.cache/longtail"),
        ("/c", "/x", "/c"),
        ("~/c", "", "/home/a/c"),
    ],
)
def test_where_the_cache_is(own: str, xdg: str, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"HOME": "/home/a", "LONGTAIL_CACHE": own, "XDG_CACHE_HOME": xdg}.items():
        monkeypatch.setenv(name, value)
    assert cache_root() == Path(root)
