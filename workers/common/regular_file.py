"""Opens files that a user names, and nothing else: a named pipe would be waited for, a device never end."""

import errno
from pathlib import Path
from typing import BinaryIO


def open_regular(path: Path) -> BinaryIO:
    """A file, opened to read its bytes. Raises OSError where there is none, and for a folder, a pipe or a device."""
    if path.exists() and not path.is_file() and not path.is_dir():  # of a folder `open` says so
        raise OSError(errno.EINVAL, "is not a regular file")
    return path.open("rb")
