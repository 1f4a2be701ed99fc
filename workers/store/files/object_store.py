"""Files in an object store, created atomically by single requests.

Requests that fail for a moment are repeated (`RetryPolicy`). pyarrow has no conditional PUT, and not every server's is
atomic, so `create` finds out whether it raced, by means of a claim: a small object for every name that is written,
`_writing/<path>`, which holds its writer's mark and its content's digest. A writer (1) puts its claim, (2) looks for
the file, (3) puts the file, (4) reads the claim. Of two writers that both found no file in (2) and their own claim in
(4), one put its claim after the other had read it in (4), hence after the other's (3), and would have found the file in
its own (2). So of racing writers at most one goes unaware; the others compare digests, and differing ones are an error.
Claims are kept for `STALE_SECONDS`, for writers that were frozen between (2) and (3): one frozen for longer may replace
a file by other content unaware.
"""

import hashlib
import re
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from random import SystemRandom
from typing import TypeVar

import pyarrow as pa
import pyarrow.fs as pafs

from workers.errors import ConflictError, DamagedFileError, StoreError
from workers.store.binding import Binding
from workers.store.files.errors import is_transient, reason_of, wrap_os_errors, wrap_write_errors
from workers.store.files.local import STALE_SECONDS
from workers.store.files.uris import without_query

SMALL_BYTES = 1 << 20
"""A file up to this size is fetched whole: one request is faster than one for each column."""

_CLAIMS = "_writing"
_CLAIM = re.compile(rb"[0-9a-f]{32} ([0-9a-f]{64})")

T = TypeVar("T")


@dataclass(frozen=True)
class RetryPolicy:
    """The seconds within which a request with a transient error is repeated; the last attempt begins within them.

    A store that never answered is likely misnamed; one that did is likely to come back. An attempt takes moments where
    a connection is refused or an error comes back, and up to 17 s where nothing does (see `locations`). Pauses are
    random, and twice as long from one to the next up to `longest`.
    """

    first: float = 15.0
    later: float = 120.0
    shortest: float = 0.25
    longest: float = 8.0


RETRY_POLICY = RetryPolicy()


class RemoteFiles:
    """Files under a path of a pyarrow file system. Files at most a few GB: `move` copies in one request."""

    def __init__(self, uri: str, filesystem: pafs.FileSystem, root: str) -> None:
        self.uri = uri
        self.filesystem = filesystem
        self.root = root
        self._answered = False
        self._binding: Binding | None = None

    def make_root(self) -> None:
        """Nothing: an object store has no folders."""

    def bind(self, path: str, content: bytes) -> None:
        self._binding = Binding(path, content)

    def check(self) -> None:
        if self._binding is not None:
            self._binding.check(without_query(self.uri), self.read(self._binding.path))

    def location(self, path: str) -> str:
        return f"{without_query(self.uri)}/{path}"

    def names(self, folder: str) -> list[str]:
        return sorted(info.base_name for info in self._list(folder))

    def read(self, path: str) -> pa.Buffer | None:
        def attempt() -> pa.Buffer | None:
            with suppress(FileNotFoundError), self.filesystem.open_input_file(self._key(path)) as file:
                return file.read_buffer()
            return None

        return self._retry(path, attempt)

    def open(self, path: str) -> pa.NativeFile | None:
        def attempt() -> pa.NativeFile | None:
            try:
                return self.filesystem.open_input_file(self._key(path))
            except FileNotFoundError:
                return None
            except IsADirectoryError as error:
                raise DamagedFileError(f"{self.location(path)}: is a folder") from error

        file = self._retry(path, attempt)
        if file is None:
            return None
        patient = _RetryingFile(file, lambda read: self._retry(path, read))
        if patient.size > SMALL_BYTES:
            return pa.PythonFile(patient, mode="r")
        with file:
            return pa.BufferReader(patient.read(patient.size))

    def create(self, path: str, content: bytes | pa.Buffer, digest: str | None = None) -> bool:
        digest = digest or hashlib.sha256(content).hexdigest()
        ours = f"{uuid.uuid4().hex} {digest}".encode()
        claim = f"{_CLAIMS}/{path}"
        self._put(claim, ours)
        if self._exists(path):
            return False
        self._put(path, content)
        theirs = self._claimed(claim) or digest
        if theirs != digest:
            raise ConflictError(
                f"{self.location(path)}: another writer committed other content at the same moment "
                f"(SHA-256 {theirs[:12]}, here {digest[:12]}): the same work gave different results?"
            )
        return True

    def _claimed(self, claim: str) -> str | None:
        """The digest in a claim; None where it is gone. One that is not whole is waited for: not every place that
        fsspec knows makes a file appear at once."""

        def attempt() -> str | None:
            try:
                with self.filesystem.open_input_file(self._key(claim)) as file:
                    match = _CLAIM.fullmatch(file.read())
            except FileNotFoundError:
                return None
            if match is None:
                raise TimeoutError("is being written, and stays incomplete")
            return match[1].decode()

        return self._retry(claim, attempt)

    def replace(self, path: str, content: bytes | pa.Buffer) -> None:
        self._put(path, content)

    def move(self, path: str, target: str) -> None:
        # Not the file system's own move: an attempt whose answer was lost could not be repeated.
        with wrap_write_errors(self.location(target)):
            self._retry(path, lambda: self.filesystem.copy_file(self._key(path), self._key(target)))
        self.delete(path)

    def delete(self, path: str) -> None:
        def attempt() -> None:
            with suppress(FileNotFoundError):
                self.filesystem.delete_file(self._key(path))

        with wrap_write_errors(self.location(path)):
            self._retry(path, attempt)

    def check_writable(self, folder: str) -> None:
        """Nothing: whether an object store can be written shows at the first write."""

    def clean(self) -> None:
        """Remove claims, once the youngest is old: all at once, a thousand a request."""
        claims = [info for info in self._list(_CLAIMS, recursive=True) if info.type == pafs.FileType.File]
        horizon = time.time() - STALE_SECONDS
        if claims and all(info.mtime is not None and info.mtime.timestamp() < horizon for info in claims):
            folder = self._key(_CLAIMS)
            self._retry(_CLAIMS, lambda: self.filesystem.delete_dir_contents(folder, missing_dir_ok=True))

    def _key(self, path: str) -> str:
        return f"{self.root}/{path}".rstrip("/")

    def _list(self, folder: str, recursive: bool = False) -> list[pafs.FileInfo]:
        selector = pafs.FileSelector(self._key(folder), allow_not_found=True, recursive=recursive)
        return self._retry(folder, lambda: list(self.filesystem.get_file_info(selector)))

    def _exists(self, path: str) -> bool:
        """Whether the file exists. One request where asking for its information would list what might lie under it."""

        def attempt() -> bool:
            try:
                self.filesystem.open_input_file(self._key(path)).close()
            except FileNotFoundError:
                return False
            return True

        return self._retry(path, attempt)

    def _put(self, path: str, content: bytes | pa.Buffer) -> None:
        """Write an object whole or not at all.

        In a thread of its own: an interruption (Ctrl-C, SIGTERM), which reaches the main thread alone, would otherwise
        close a stream half-way, and closing is what makes an object appear.
        """

        def attempt() -> None:
            stream = self.filesystem.open_output_stream(self._key(path), compression=None)
            stream.write(content)
            stream.close()

        with wrap_write_errors(self.location(path)), ThreadPoolExecutor(1) as writer:
            self._retry(path, lambda: writer.submit(attempt).result())

    def _retry(self, path: str, attempt: Callable[[], T]) -> T:
        """What an attempt returns, repeated while it fails for a moment. Raises StoreError, which names the path."""
        began, tries = time.monotonic(), 1
        with wrap_os_errors(self.location(path)):
            while True:
                try:
                    result = attempt()
                except OSError as error:
                    if not is_transient(error):
                        raise
                    passed = time.monotonic() - began
                    pause = min(RETRY_POLICY.longest, RETRY_POLICY.shortest * 2.0 ** min(tries, 30))
                    pause = SystemRandom().uniform(pause / 2, pause)
                    if passed + pause > (RETRY_POLICY.later if self._answered else RETRY_POLICY.first):
                        raise StoreError(
                            f"{self.location(path)}: {reason_of(error)} ({tries} attempts in {passed:.0f} s)"
                        ) from error
                else:
                    self._answered = True
                    return result
                time.sleep(pause)
                tries += 1


class _RetryingFile:
    """An open file as a Python one, whose reads are repeated like any other request."""

    def __init__(self, file: pa.NativeFile, retry: Callable[[Callable[[], bytes]], bytes]) -> None:
        self._file = file
        self._retry = retry
        self._position = 0
        self.size = int(file.size())

    @property
    def closed(self) -> bool:
        return bool(self._file.closed)

    def close(self) -> None:
        self._file.close()

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset + (0, self._position, self.size)[whence]
        return self._position

    def read(self, size: int = -1) -> bytes:
        start = self._position
        num_bytes = max(0, self.size - start if size < 0 else min(size, self.size - start))
        content = self._retry(lambda: self._file.read_at(num_bytes, start)) if num_bytes else b""
        self._position = start + len(content)
        return content
