"""The `Files` protocol: reads and atomically creates files, on disk and on file systems of pyarrow and fsspec.

A file either exists with all its bytes or does not exist. `create` never overwrites what it sees.
"""

import os
import re
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.fs as pafs

from workers.errors import NoStoreError
from workers.store.files.local import STALE_SECONDS as STALE_SECONDS
from workers.store.files.local import LocalFiles
from workers.store.files.object_store import RemoteFiles
from workers.store.files.uris import open_location


class Files(Protocol):
    """The file operations that a store uses. Every path is relative to the store's root, with `/`.

    All methods raise StoreError, which names the path, where the place cannot be reached, read or written:
    ReadOnlyError where it refuses to be written.
    """

    uri: str

    def make_root(self) -> None:
        """Create the root folder. No other method does: a store that was moved or unmounted is not created anew."""

    def bind(self, path: str, content: bytes) -> None:
        """These are the files of the store whose file at `path` has this content; see `check`.

        On a disk every write checks first, which takes no more than a look at the file's inode.
        """

    def check(self) -> None:
        """Raise StoreError where that file is gone or another's. On an object store this takes a request."""

    def location(self, path: str) -> str:
        """Where a file is, for people to read."""

    def names(self, folder: str) -> list[str]:
        """Names of the files (and folders) in a folder, sorted; empty where it does not exist. One listing."""

    def read(self, path: str) -> pa.Buffer | None:
        """A file's bytes; None where it does not exist."""

    def open(self, path: str) -> pa.NativeFile | None:
        """A file for reading some of its bytes; None where it does not exist. Its reads raise StoreError, too."""

    def create(self, path: str, content: bytes | pa.Buffer, digest: str | None = None) -> bool:
        """Write a new file, whole or not at all. False, and nothing changed, where it exists already.

        Contents of one `digest` (default: the SHA-256 of the bytes) stand for the same. On a disk one of several
        racing writers wins. On an object store the last one does, and ConflictError is raised in at least one of them
        where their digests differ.
        """

    def replace(self, path: str, content: bytes | pa.Buffer) -> None:
        """Write a file, whole or not at all, in place of one that may exist."""

    def move(self, path: str, target: str) -> None:
        """Rename a file. An interruption leaves it under its old name, its new one, or both, never under none."""

    def delete(self, path: str) -> None:
        """Remove a file that may be gone already."""

    def check_writable(self, folder: str) -> None:
        """Raise ReadOnlyError where files of a folder cannot be written, as far as that is known without writing."""

    def clean(self) -> None:
        """Remove temporary files of killed writers."""


def open_files(uri: str | os.PathLike[str]) -> Files:
    """Files under a local path or a URI (`file://`, `s3://`, `gs://`, or any protocol that fsspec knows).

    Raises StoreError where a URI cannot be understood or holds credentials: these come from the environment alone.
    """
    text = os.fspath(uri)
    if not text:
        raise NoStoreError("store: must be a path or a URI, got ''")
    if not re.match(r"^[A-Za-z][A-Za-z0-9+.-]+://", text):
        return _local(Path(text))
    if text.startswith("file://"):
        return _local(Path(pafs.FileSystem.from_uri(text)[1]))
    return RemoteFiles(text, *open_location(text))


def _local(root: Path) -> LocalFiles:
    """Files under a folder, which need not be there. Raises NoStoreError where a file has its name."""
    files = LocalFiles(root)
    if os.path.isfile(files.root):  # noqa: PTH113 - false where it cannot be known, which reading then tells
        raise NoStoreError(f"{files.root}: is a file, not the folder of a store")
    return files
