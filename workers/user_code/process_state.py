"""Restores the state of the process that user code must not change."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from workers.errors import UserCodeError

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_STREAMS = ("stdout", "stderr")


@contextmanager
def preserved_search_path() -> Iterator[None]:
    """Put back the folders that are removed from `sys.path`, after those that are left. Added ones stay.

    Later imports of Longtail's own need them, and so does the origin of a module (see `code_origin`).
    """
    search_path, folders = sys.path, list(sys.path)
    try:
        yield
    finally:
        current = getattr(sys, "path", None)
        left = [folder for folder in current if isinstance(folder, str)] if isinstance(current, list | tuple) else []
        search_path[:] = [*left, *(folder for folder in folders if folder not in left)]
        sys.path = search_path


@contextmanager
def preserved_process_state(what: str) -> Iterator[None]:
    """Restore the handlers of SIGINT and SIGTERM, the umask, sys.stdout and sys.stderr; `what` opens an error.

    Handlers end the command, files of the store are made by the umask, results are printed to the streams. All belong
    to the main thread: in others nothing is done. Raises UserCodeError where a stream was closed, which stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with preserved_search_path():
        yield from _preserved_process_state(what)


def _preserved_process_state(what: str) -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    umask = _umask()
    streams = {name: getattr(sys, name) for name in _STREAMS}
    usable = [name for name, stream in streams.items() if stream is not None and not stream.closed]
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)
        os.umask(umask)
        for name, stream in streams.items():
            setattr(sys, name, stream)
    closed = [f"sys.{name}" for name in usable if streams[name].closed]
    if closed:
        raise UserCodeError(f"{what}: closes {' and '.join(closed)}, which the command prints to: leave it open")


def _umask() -> int:
    """The umask, which can only be read by setting it."""
    umask = os.umask(0o077)
    os.umask(umask)
    return umask
