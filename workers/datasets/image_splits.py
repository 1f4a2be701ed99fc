"""Finds the training and test folders below an image folder's root."""

import os
from dataclasses import dataclass
from pathlib import Path

from workers.datasets.image_files import is_system_file, path_text
from workers.errors import DataError

_TRAIN = ("train", "training")
_TEST = ("test", "testing", "tests", "eval", "evaluation")
_VALIDATION = ("val", "valid", "validation", "dev")
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")


@dataclass(frozen=True)
class Splits:
    """The folders of both splits."""

    root: Path
    train: Path
    test: Path | None
    notes: tuple[str, ...]


def find_splits(root: Path) -> Splits:
    """`train` and `test`, else `val`; else folders of names that mean the same, such as `Train` and `validation`.

    Raises DataError where there is no training folder, telling where one may be, or where two folders are as good.
    """
    folders, files = _entries(root)
    train = _best(root, folders, (("train",), _TRAIN))
    if train is None:
        raise DataError(f"dataset.root: {_without_train(root, folders)}")
    candidates = sorted(name for name in folders if name.lower() in _TEST + _VALIDATION)
    labelled = [name for name in candidates if any(_class_names(root / name))]
    test = _best(root, labelled, (("test",), ("val",), _TEST, _VALIDATION))
    if test is not None and (root / train).samefile(root / test):
        raise DataError(f"dataset.root: {path_text(root / test)} and {path_text(root / train)} are one folder")
    notes = [] if test is None or test.lower() in _TEST else [f"{test} is the test set"]
    notes += [_why_not_read(root, name, test) for name in candidates if name != test]
    notes += [
        f"{name} is not read: {train} is the training set"
        for name in folders
        if name.lower() in _TRAIN and name != train
    ]
    packed = [
        name for name in files if name.lower().endswith(_ARCHIVES) and name.lower().startswith(_TEST + _VALIDATION)
    ]
    if packed and test is None:
        notes.append(f"{packed[0]} is not read: unpack it to have a test set")
    return Splits(root, root / train, None if test is None else root / test, tuple(map(path_text, notes)))


def _entries(root: Path) -> tuple[list[str], list[str]]:
    """The names of the folders and files in root, sorted. Raises DataError where a split's link leads nowhere."""
    if root.is_file():
        raise DataError(f"dataset.root: {path_text(root)} is a file, not a folder; unpack it where it is an archive")
    try:
        with os.scandir(root) as scanned:
            entries = sorted(
                (entry for entry in scanned if not entry.name.startswith(".")), key=lambda entry: entry.name
            )
    except OSError as error:
        raise DataError(f"dataset.root: {path_text(root)}: {error.strerror}") from error
    for entry in entries:
        if entry.is_symlink() and not entry.is_dir() and entry.name.lower() in _TRAIN + _TEST + _VALIDATION:
            raise DataError(
                f"{path_text(entry.path)}: is a link to {path_text(Path(entry.path).readlink())}, which is no folder"
            )
    folders = [entry.name for entry in entries if entry.is_dir()]
    return folders, [entry.name for entry in entries if entry.is_file()]


def _best(root: Path, names: list[str], ranks: tuple[tuple[str, ...], ...]) -> str | None:
    """The name of the first rank that has one: exactly spelt for ranks of one word, in any case for others."""
    for words in ranks:
        matching = [name for name in names if (name if len(words) == 1 else name.lower()) in words]
        if len(matching) > 1:
            raise DataError(
                f"dataset.root: {path_text(root)} has {' and '.join(map(path_text, matching))}; rename or move one"
            )
        if matching:
            return matching[0]
    return None


def _why_not_read(root: Path, name: str, test: str | None) -> str:
    if any(_class_names(root / name)):
        return f"{name} is not read: {test} is the test set"
    try:
        with os.scandir(root / name) as entries:
            count = sum(1 for entry in entries if entry.is_file())
    except FileNotFoundError:
        return f"{name} is not read: it was removed while it was looked at"
    return f"{name} is not read: it has no class folders, so what is in it has no labels (files: {count:,})"


def _class_names(folder: Path) -> list[str]:
    """The folders in a folder; none where it cannot be read, which `list_classes` tells."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir())
        return [name for name in names if not name.startswith(".") and not is_system_file(name)]
    except PermissionError:
        return [""]
    except FileNotFoundError:  # removed since its folder was listed
        return []


def _without_train(root: Path, folders: list[str]) -> str:
    """Why there is no training folder, and what may be meant."""
    inner = next((name for name in folders if any(each.lower() in _TRAIN for each in _class_names(root / name))), None)
    if inner is not None:
        return f"{path_text(root)} has no folder train, but {path_text(root / inner)} has one: name that folder"
    if root.name.lower() in _TRAIN:
        return f"{path_text(root)} has no folder train: name the folder above it, {path_text(root.parent)}"
    if not folders:
        return f"{path_text(root)} has no folder train"
    listed = ", ".join(map(path_text, folders[:3])) + (", ..." if len(folders) > 3 else "")
    return (
        f"{path_text(root)} has no folder train; where its folders ({listed}) are the classes, move them into "
        f"{path_text(root / 'train')}, and those of a test set into {path_text(root / 'test')}"
    )
