"""Syncs files and folders to disk."""

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: a file's own fsync covers its bytes, not its name. Raises OSError."""
    sync_file(folder)


def sync_file(path: Path) -> None:
    """Make the bytes of a file that is closed already durable. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
