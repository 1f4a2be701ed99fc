"""Lists the files of class folders in the order of torchvision's ImageFolder."""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from workers.errors import DamagedDataError, DataError

EXTENSIONS = (
    *(".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"),
    *(".jfif", ".jpe", ".jif", ".avif", ".apng", ".dib", ".pbm", ".pnm", ".jp2", ".tga"),
)
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "GIF", "PPM", "AVIF")
"""What a file without suffix may be."""

_SYSTEM_FILES = frozenset(
    ("thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "lost+found", "system volume information")
)
"""In lower case."""


@dataclass
class ClassFolders:
    """What lies in the folder of a split: for each class its files, images or not, in canonical order."""

    folder: Path
    classes: dict[str, list[str]] = field(default_factory=dict)
    """Class name to paths of regular files, both sorted."""
    loose: list[str] = field(default_factory=list)
    """Files in no class folder."""
    hidden: list[str] = field(default_factory=list)
    """Folders and images whose names start with a dot."""
    special: list[str] = field(default_factory=list)
    """Pipes, sockets and devices."""


def list_classes(folder: Path) -> ClassFolders:
    """Look through a split's folder: each folder in it is a class, with all that lies below.

    Raises DataError where a link leads nowhere or in a circle, a folder cannot be read, or a class's name is not UTF-8.
    """
    class_folders = ClassFolders(folder)
    names = []
    for entry in _entries(str(folder), class_folders):
        if entry.is_dir():
            names.append(_checked_name(entry))
        else:
            class_folders.loose.append(entry.path)
    for name in sorted(names):
        files = sorted(_walk(str(folder / name), class_folders, (_identity(folder),)))
        class_folders.classes[name] = [path for _, paths in files for path in paths]
    return class_folders


def split_images(paths: list[str]) -> tuple[list[str], list[str]]:
    """(images, others): images have an image's suffix, or none and an image's content. Raises DataError."""
    images: list[str] = []
    others: list[str] = []
    for path in paths:
        suffix = os.path.splitext(path)[1].lower()  # noqa: PTH122
        (images if suffix in EXTENSIONS or (not suffix and _is_image(path)) else others).append(path)
    return images, others


def is_system_file(name: str) -> bool:
    """Whether an operating system or a disk station left it there."""
    return name.lower() in _SYSTEM_FILES or name.startswith("._")


def path_text(path: str | Path) -> str:
    """A path for messages: bytes that are not UTF-8 as escapes."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _entries(folder: str, class_folders: ClassFolders) -> Iterator[os.DirEntry[str]]:
    """The folders and regular files in a folder that are not hidden; what else there is goes to `class_folders`."""
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
        for entry in listed:
            if is_system_file(entry.name):
                continue
            if entry.name.startswith("."):
                if entry.is_dir() or entry.name.lower().endswith(EXTENSIONS):
                    class_folders.hidden.append(entry.path)
            elif entry.is_dir() or entry.is_file():
                yield entry
            elif entry.is_symlink() and not Path(entry.path).exists():
                raise DataError(
                    f"{path_text(entry.path)}: is a broken link to {path_text(Path(entry.path).readlink())}"
                )
            else:
                class_folders.special.append(entry.path)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        raise (DataError if missing else DamagedDataError)(
            f"dataset.root: {path_text(folder)}: {error.strerror}"
        ) from error


def _walk(
    folder: str, class_folders: ClassFolders, above: tuple[tuple[int, int], ...]
) -> Iterator[tuple[str, list[str]]]:
    """Each folder below and its files; torchvision sorts by the folder's path, then by the file's name."""
    here = _identity(Path(folder))
    if here in above:
        raise DataError(f"{path_text(folder)}: is a link to a folder that it lies in")
    files = []
    for entry in _entries(folder, class_folders):
        if entry.is_dir():
            yield from _walk(entry.path, class_folders, (*above, here))
        else:
            files.append(entry.path)
    yield folder, files


def _identity(folder: Path) -> tuple[int, int]:
    try:
        status = folder.stat()
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        raise (DataError if missing else DamagedDataError)(
            f"dataset.root: {path_text(folder)}: {error.strerror}"
        ) from error
    return status.st_dev, status.st_ino


def _checked_name(entry: os.DirEntry[str]) -> str:
    try:
        entry.name.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{path_text(entry.path)}: the name of a class must be UTF-8; rename the folder") from error
    return entry.name


def _is_image(path: str) -> bool:
    """Whether a file's content begins as one of _FORMATS does. Raises DataError where it cannot be opened."""
    try:
        with Image.open(path, formats=_FORMATS):
            return True
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        return True  # which decoding refuses
    except OSError as error:
        if error.errno is None:  # Pillow's own: no image after all
            return False
        raise DataError(f"{path_text(path)}: {error.strerror}") from error
    except (EOFError, ValueError, SyntaxError, TypeError, LookupError, struct.error):
        return False
