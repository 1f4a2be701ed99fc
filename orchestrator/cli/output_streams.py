"""Standard output and error that survive a closed pipe or a full disk, so that a campaign goes on.

Python would raise from whichever line is printed next, and once more as it ends. Here the first failure points the file
descriptor at the null device. Where a campaign is trained (`training_continues`) it is remembered, and said at the end;
elsewhere it is raised. Errors on standard error are never raised: there is nowhere left to say so.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from workers.errors import OutputError


class GuardedStream:
    """A text stream whose `write` and `flush` fail once at most; everything else is the stream's own."""

    def __init__(self, stream: TextIO, *, raises: bool) -> None:
        self._stream = stream
        self._raises = raises
        self.failure: OSError | None = None
        """The first error; None as long as everything could be written."""
        self.tolerant = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write to the stream. Raises BrokenPipeError or OutputError unless failures are tolerated."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._failed(error)
            return len(text)

    def flush(self) -> None:
        """Flush the stream. Raises as `write`."""
        try:
            self._stream.flush()
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        if self.failure is None:
            self.failure = error
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())  # what is in the buffer goes there too, at the latest as Python ends
        os.close(null)
        if not self._raises or self.tolerant:
            return
        if isinstance(error, BrokenPipeError):
            raise error
        raise OutputError(f"standard output cannot be written: {error.strerror}") from error


def guard_streams() -> None:
    """Replace `sys.stdout` and `sys.stderr`; a stream that was closed before the start stays as it is."""
    if sys.stdout is not None:
        sys.stdout = GuardedStream(sys.stdout, raises=True)
    if sys.stderr is not None:
        sys.stderr = GuardedStream(sys.stderr, raises=False)


@contextmanager
def training_continues() -> Iterator[None]:
    """Inside, a failure of standard output is remembered only."""
    stream = sys.stdout
    if not isinstance(stream, GuardedStream):
        yield
        return
    stream.tolerant = True
    try:
        yield
    finally:
        if stream.failure is None:
            stream.tolerant = False  # else what the command still says goes nowhere, and its exit code is the store's


def failure_of_output() -> str | None:
    """Why standard output could not be written, in words; None where it could, or where that ended the command."""
    stream = sys.stdout
    if not isinstance(stream, GuardedStream) or stream.failure is None or not stream.tolerant:
        return None
    return stream.failure.strerror or str(stream.failure)
