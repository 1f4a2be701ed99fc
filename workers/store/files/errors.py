"""Wraps errors of disks and object stores in one line that names the path; recognizes transient ones."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workers.errors import ReadOnlyError, StoreError

# What AWS's and Google's clients say of throttling, overload, time-outs and broken connections. 507 is a full disk.
_TRANSIENT = re.compile(
    r"HTTP status (?:408|425|429|50[0-6]|509|5[1-9]\d)\b"
    r"|AWS Error (?:NETWORK_CONNECTION|INTERNAL_FAILURE|SERVICE_UNAVAILABLE|SLOW_DOWN|THROTTLING|REQUEST_TIMEOUT)\b"
    r"|google::cloud::Status\((?:UNAVAILABLE|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED|INTERNAL|ABORTED)\b"
)

_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_DENIED = re.compile(r"\bACCESS_DENIED\b|\bPERMISSION_DENIED\b|\bHTTP status 403\b|[Rr]ead-?only", re.ASCII)
"""What AWS's and Google's clients, and file systems of fsspec, say of it."""


@contextmanager
def wrap_os_errors(path: str | Path) -> Iterator[None]:
    """OSError (disk full, no permission, unreachable) as a StoreError that names the path."""
    try:
        yield
    except StoreError:
        raise
    except (OSError, ImportError, ValueError, NotImplementedError) as error:  # the last: places that are read-only
        raise StoreError(f"{path}: {reason_of(error)}") from error


@contextmanager
def wrap_write_errors(path: str | Path) -> Iterator[None]:
    """Like `wrap_os_errors`, for writes: raises ReadOnlyError where the location cannot be written."""
    try:
        with wrap_os_errors(path):
            yield
    except StoreError as error:
        if type(error) is StoreError and _refused(error.__cause__):
            raise ReadOnlyError(error.problem) from error.__cause__
        raise


def _refused(error: BaseException | None) -> bool:
    """Whether a write was refused (permissions, read-only), rather than failed (disk full, connection lost)."""
    if isinstance(error, OSError):
        return error.errno in _REFUSED or _DENIED.search(str(error)) is not None
    return isinstance(error, NotImplementedError)  # what file systems say that can only be read


def reason_of(error: Exception) -> str:
    """An error's text in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.partition(" error_info={")[0].split())  # what follows are Google's client's own notes


def is_transient(error: OSError) -> bool:
    """Whether the same request may succeed when it is repeated."""
    if isinstance(error, StoreError | FileNotFoundError | PermissionError):
        return False
    return isinstance(error, TimeoutError | ConnectionError) or _TRANSIENT.search(str(error)) is not None
