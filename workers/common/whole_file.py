"""Output files: written atomically, to a path that is checked before anything is computed."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from workers.errors import CommandError, LongtailError


def check_place(path: Path) -> None:
    """Find out that no file can be written there.

    Raises CommandError where there is no such folder, or something else than a file has the name; LongtailError where
    the folder refuses to be written.
    """
    if not path.parent.is_dir():
        raise CommandError(f"{path}: cannot be written: there is no folder {path.parent}")
    unfinished = _unfinished(path)
    try:
        there, is_folder, is_file = path.exists(), path.is_dir(), path.is_file()
        unfinished.touch()
        unfinished.unlink()
    except OSError as error:
        raise LongtailError(f"{path}: cannot be written: {error.strerror or error}") from error
    if there and not is_file:
        raise CommandError(f"{path}: cannot be written: is {'a folder' if is_folder else 'not a regular file'}")


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file under another name beside it, and give it its own when it is whole.

    Raises LongtailError where it cannot be written; then what was there stays.
    """
    unfinished = _unfinished(path)
    try:
        write(unfinished)
        unfinished.replace(path)
    except BaseException as error:  # an interruption leaves no unfinished file either
        with suppress(OSError):  # a place that refuses to be written refuses this, too
            unfinished.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise LongtailError(f"{path}: cannot be written: {error.strerror or error}") from error
        raise


def _unfinished(path: Path) -> Path:
    return path.with_name(f"_{path.name}.{os.getpid()}")
