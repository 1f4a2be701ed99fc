"""Reading and atomically creating files, on a local disk and on any file system that pyarrow or fsspec speaks.

A file either exists with all its bytes or does not exist. `create` never overwrites: under a race one writer wins.
"""

import errno
import os
import re
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.fs as pafs

from workers.durability import sync_folder
from workers.errors import StoreError

_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}

STALE_SECONDS = 3600.0
"""Age at which a temporary file is taken for the leftover of a killed writer: a commit takes milliseconds."""


class Files(Protocol):
    """What a store needs of a place that holds files. Every path is relative to the store's root, with `/`.

    All methods raise StoreError, which names the path, where the place cannot be reached, read or written.
    """

    uri: str

    def names(self, folder: str) -> list[str]:
        """Names of the files (and folders) in a folder, sorted; empty where it does not exist."""

    def read(self, path: str) -> pa.Buffer | None:
        """A file's bytes; None where it does not exist."""

    def open(self, path: str) -> pa.NativeFile | None:
        """A file for reading some of its bytes; None where it does not exist."""

    def create(self, path: str, content: bytes | pa.Buffer) -> bool:
        """Write a new file, whole or not at all. False, and nothing changed, where it exists already."""

    def replace(self, path: str, content: bytes | pa.Buffer) -> None:
        """Write a file, whole or not at all, in place of one that may exist."""

    def move(self, path: str, target: str) -> None:
        """Rename a file."""

    def delete(self, path: str) -> None:
        """Remove a file that may be gone already."""

    def clean(self) -> None:
        """Remove what killed writers left behind."""


def open_files(uri: str | os.PathLike[str]) -> Files:
    """Files under a local path or a URI (`file://`, `s3://`, `gs://`, or any protocol that fsspec knows)."""
    text = os.fspath(uri)
    if not text:
        raise StoreError("store: must be a path or a URI, got ''")
    if not re.match(r"^[A-Za-z][A-Za-z0-9+.-]+://", text):
        return LocalFiles(Path(text))
    if text.startswith("file://"):
        return LocalFiles(Path(pafs.FileSystem.from_uri(text)[1]))
    with _told(text):
        try:
            filesystem, root = pafs.FileSystem.from_uri(text)
        except pa.ArrowInvalid:
            from fsspec.core import url_to_fs

            known, root = url_to_fs(text)
            filesystem = pafs.PyFileSystem(pafs.FSSpecHandler(known))
    return RemoteFiles(text, filesystem, root.rstrip("/"))


class LocalFiles:
    """Files on a disk that has hard links: temporary name, fsync, link to the final name."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        self.uri = str(self.root)

    def names(self, folder: str) -> list[str]:
        with _told(self.root / folder):
            try:
                return sorted(os.listdir(self.root / folder))  # noqa: PTH208 - names, 100,000 of them
            except FileNotFoundError:
                return []

    def read(self, path: str) -> pa.Buffer | None:
        with _told(self.root / path):
            try:
                return pa.py_buffer(_regular(self.root / path).read_bytes())
            except FileNotFoundError:
                return None

    def open(self, path: str) -> pa.NativeFile | None:
        with _told(self.root / path):
            try:
                return pa.OSFile(str(_regular(self.root / path)), "rb")
            except FileNotFoundError:
                return None

    def create(self, path: str, content: bytes | pa.Buffer) -> bool:
        with _told(self.root / path), self._temporary(path, content) as temporary:
            created = _link(temporary, self.root / path)
            sync_folder((self.root / path).parent)
            return created

    def replace(self, path: str, content: bytes | pa.Buffer) -> None:
        with _told(self.root / path), self._temporary(path, content) as temporary:
            temporary.replace(self.root / path)
            sync_folder((self.root / path).parent)

    def move(self, path: str, target: str) -> None:
        with _told(self.root / path):
            (self.root / target).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).replace(self.root / target)

    def delete(self, path: str) -> None:
        with _told(self.root / path):
            (self.root / path).unlink(missing_ok=True)

    def clean(self) -> None:
        horizon = time.time() - STALE_SECONDS
        for leftover in self.root.glob("**/_new-*"):
            with _told(leftover), suppress(FileNotFoundError):
                if leftover.stat().st_mtime < horizon:
                    leftover.unlink()

    @contextmanager
    def _temporary(self, path: str, content: bytes | pa.Buffer) -> Iterator[Path]:
        """The content in a synced file beside its final place; the leading `_` hides it from readers of the folder."""
        final = self.root / path
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = final.with_name(f"_new-{uuid.uuid4().hex}-{final.name}")
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


class RemoteFiles:
    """Files in an object store, where one PUT makes an object appear whole.

    Without a conditional PUT two writers can pass the same check; names decide the content, so they write equal bytes.
    """

    def __init__(self, uri: str, filesystem: pafs.FileSystem, root: str) -> None:
        self.uri = uri
        self.filesystem = filesystem
        self.root = root

    def names(self, folder: str) -> list[str]:
        with _told(f"{self.uri}/{folder}"):
            selector = pafs.FileSelector(f"{self.root}/{folder}".rstrip("/"), allow_not_found=True)
            return sorted(info.base_name for info in self.filesystem.get_file_info(selector))

    def read(self, path: str) -> pa.Buffer | None:
        with _told(f"{self.uri}/{path}"):
            if not self._exists(path):
                return None
            with self.filesystem.open_input_file(f"{self.root}/{path}") as file:
                return file.read_buffer()

    def open(self, path: str) -> pa.NativeFile | None:
        with _told(f"{self.uri}/{path}"):
            return self.filesystem.open_input_file(f"{self.root}/{path}") if self._exists(path) else None

    def create(self, path: str, content: bytes | pa.Buffer) -> bool:
        with _told(f"{self.uri}/{path}"):
            if self._exists(path):
                return False
        self.replace(path, content)
        return True

    def replace(self, path: str, content: bytes | pa.Buffer) -> None:
        with _told(f"{self.uri}/{path}"), self.filesystem.open_output_stream(f"{self.root}/{path}") as stream:
            stream.write(content)

    def move(self, path: str, target: str) -> None:
        with _told(f"{self.uri}/{path}"):
            self.filesystem.move(f"{self.root}/{path}", f"{self.root}/{target}")

    def delete(self, path: str) -> None:
        with _told(f"{self.uri}/{path}"):
            if self._exists(path):
                self.filesystem.delete_file(f"{self.root}/{path}")

    def clean(self) -> None:
        """Nothing to do: an object that was not written whole does not exist."""

    def _exists(self, path: str) -> bool:
        return bool(self.filesystem.get_file_info(f"{self.root}/{path}").type == pafs.FileType.File)


def _regular(path: Path) -> Path:
    """The path of a file, links followed. A pipe put in its place would keep a reader waiting, a device never end."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise StoreError(f"{path}: is not a regular file")
    return path


def _link(temporary: Path, final: Path) -> bool:
    """Give a whole file its final name, unless that exists."""
    try:
        os.link(temporary, final)
    except FileExistsError:
        return False
    except OSError as error:
        # Some network and removable disks know no hard links. A rename replaces what another writer put there in
        # between: the same name stands for the same content.
        if error.errno not in _NO_HARD_LINKS:
            raise
        if final.exists():
            return False
        temporary.rename(final)
    return True


@contextmanager
def _told(path: str | Path) -> Iterator[None]:
    """OSError (disk full, no permission, unreachable) as a StoreError that names the path."""
    try:
        yield
    except StoreError:
        raise
    except (OSError, ImportError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise StoreError(f"{path}: {reason}") from error
