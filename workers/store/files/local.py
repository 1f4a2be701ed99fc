"""Files on a local disk, created atomically: temporary name, fsync, hard link to the final name."""

import errno
import os
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa

from workers.errors import DamagedFileError, ReadOnlyError, StoreError
from workers.store.binding import Binding
from workers.store.files.errors import wrap_os_errors, wrap_write_errors
from workers.store.files.fsync import sync_folder

_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}

STALE_SECONDS = 3600.0
"""Age at which a temporary file is taken for the leftover of a killed writer: a commit takes milliseconds."""


class LocalFiles:
    """Files on a disk that has hard links: temporary name, fsync, link to the final name."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        self.uri = str(self.root)
        self._binding: Binding | None = None

    def make_root(self) -> None:
        with wrap_write_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)

    def bind(self, path: str, content: bytes) -> None:
        self._binding = Binding(path, content)

    def check(self) -> None:
        binding = self._binding
        if binding is None:
            return
        path = self.root / binding.path
        with wrap_os_errors(path):
            try:
                status = path.stat()
            except (FileNotFoundError, NotADirectoryError):
                binding.check(self.uri, None)
                return
            mark = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            if not binding.seen(mark):
                binding.check(self.uri, self.read(binding.path), mark)

    def location(self, path: str) -> str:
        return str(self.root / path)

    def names(self, folder: str) -> list[str]:
        with wrap_os_errors(self.root / folder):
            try:
                return sorted(os.listdir(self.root / folder))  # noqa: PTH208 - names, 100,000 of them
            except FileNotFoundError:
                return []
            except NotADirectoryError as error:
                if not (self.root / folder).exists():  # what holds it is no folder
                    raise
                hint = "move it away, and the same longtail run (or import) makes the folder"
                raise StoreError(f"{self.root / folder}: is a file, not a folder", hint=hint) from error

    def read(self, path: str) -> pa.Buffer | None:
        with wrap_os_errors(self.root / path):
            try:
                return pa.py_buffer(_regular(self.root / path).read_bytes())
            except (FileNotFoundError, NotADirectoryError):
                return None

    def open(self, path: str) -> pa.NativeFile | None:
        with wrap_os_errors(self.root / path):
            try:
                return pa.OSFile(str(_regular(self.root / path)), "rb")
            except (FileNotFoundError, NotADirectoryError):
                return None

    def create(self, path: str, content: bytes | pa.Buffer, digest: str | None = None) -> bool:
        with wrap_write_errors(self.root / path), self._temporary(path, content) as temporary:
            created = _link(temporary, self.root / path)
            sync_folder((self.root / path).parent)
            return created

    def replace(self, path: str, content: bytes | pa.Buffer) -> None:
        with wrap_write_errors(self.root / path), self._temporary(path, content) as temporary:
            temporary.replace(self.root / path)
            sync_folder((self.root / path).parent)

    def move(self, path: str, target: str) -> None:
        self.check()
        with wrap_write_errors(self.root / path):
            self._make_folder(target)
            self._resolve_within_root(path).replace(self.root / target)

    def delete(self, path: str) -> None:
        self.check()
        with wrap_write_errors(self.root / path):
            self._resolve_within_root(path).unlink(missing_ok=True)

    def clean(self) -> None:
        horizon = time.time() - STALE_SECONDS
        for leftover in self.root.glob("**/_new-*"):
            with wrap_os_errors(leftover), suppress(FileNotFoundError):
                if leftover.stat().st_mtime < horizon:
                    leftover.unlink()

    def _make_folder(self, path: str) -> Path:
        """A file's place, its folders made: those within the root, never the root, which may have been moved away."""
        final = self._resolve_within_root(path)
        for folder in reversed(final.relative_to(self.root).parents):
            if folder.name:
                _check_folder(self.root / folder)
                (self.root / folder).mkdir(exist_ok=True)
        return final

    def _resolve_within_root(self, path: str) -> Path:
        """A file's place for writing. Raises ReadOnlyError where a folder is a link out of the store."""
        final = self.root / path
        if not Path(os.path.realpath(final.parent)).is_relative_to(os.path.realpath(self.root)):
            raise ReadOnlyError(f"{final.parent}: is a link that leads out of the store: nothing is written there")
        return final

    def check_writable(self, folder: str) -> None:
        place = self._resolve_within_root(f"{folder}/_").parent
        _check_folder(place)
        place = place if place.exists() else self.root
        if not os.access(place, os.W_OK):
            raise ReadOnlyError(f"{place}: is read-only")

    @contextmanager
    def _temporary(self, path: str, content: bytes | pa.Buffer) -> Iterator[Path]:
        """The content in a synced file beside its final place; the leading `_` hides it from readers of the folder."""
        self.check()
        final = self._make_folder(path)
        temporary = final.with_name(f"_new-{uuid.uuid4().hex}-{final.name}")
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


def _check_folder(path: Path) -> None:
    """Raise ReadOnlyError where something else than a folder has a folder's name: nothing can be written there."""
    if path.exists() and not path.is_dir():
        raise ReadOnlyError(f"{path}: is a file, not a folder", hint="move it away")


def _regular(path: Path) -> Path:
    """The path of a file, links followed. A pipe put in its place would keep a reader waiting, a device never end.

    Raises DamagedFileError where it is no file, or a link to nothing: nothing of a store is anything else.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            raise DamagedFileError(f"{path}: is a broken link") from None
        raise
    if not stat.S_ISREG(mode):
        raise DamagedFileError(f"{path}: is {'a folder' if stat.S_ISDIR(mode) else 'not a regular file'}")
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
