"""File stamps (size, times, inode): detect changed files without reading them."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from workers.common.arrays import UInt64s
from workers.errors import DataError


def stamp(files: Iterable[Path]) -> UInt64s:
    """uint64[files, 5]: hash of the path, size in bytes, times of modification and of change in ns, inode.

    Tools that copy or swap files keep size and time of modification; the time of change cannot be set. Renaming a
    folder leaves all three of its files, and brings other inodes. Raises DataError where a file is gone.
    """
    return np.fromiter((value for file in files for value in _row(file)), dtype=np.uint64).reshape(-1, 5)


def check_unchanged(files: list[Path], before: UInt64s, after: UInt64s) -> None:
    """Raise DataError, naming one of the files of `after`, where files changed, came or went in between.

    Inodes are not compared: some network file systems make up new ones at each look.
    """
    common = min(len(before), len(after))
    differ = np.flatnonzero((before[:common, :4] != after[:common, :4]).any(axis=1))
    if len(differ) or len(before) != len(after):
        first = int(differ[0]) if len(differ) else common
        where = files[min(first, len(files) - 1)] if files else "all files"
        raise DataError(
            f"{where}: was changed, added or removed while the data set was read; try again when "
            "no process writes there"
        )


def _row(file: Path) -> tuple[int, ...]:
    try:
        status = file.stat()
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from error
    path = hashlib.blake2b(bytes(file), digest_size=8).digest()
    values = (int.from_bytes(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    return tuple(value % 2**64 for value in values)
