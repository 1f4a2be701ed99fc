"""Guards calls of user code: process state, interruptions, and the text of its errors."""

import os
import signal
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType

from workers.errors import LongtailError, UserCodeError
from workers.user_code.code_origin import trusted_packages
from workers.user_code.process_state import SIGNALS, preserved_process_state

FULL_TRACEBACKS = "LONGTAIL_TRACEBACK"
"""Environment variable: `full` shows every frame of a traceback."""

MAX_TEXT = 300
"""Characters kept of what an exception says, in a line."""

_STREAMS = ("stdout", "stderr")
_MAX_TRACEBACK = 50_000
_MAX_FRAMES = 40
_OURS = tuple(
    f"{Path(__file__).resolve().parents[2] / name}{os.sep}" for name in ("workers", "analysis", "orchestrator")
)
_LIBRARIES = tuple(
    f"{Path(path)}{os.sep}"
    for path in {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)


class RaisedByUserCodeError(Exception):
    """What code of the campaign's own raised, its cause: kept apart from what the command line raises itself."""


@contextmanager
def wrap_user_errors() -> Iterator[None]:
    """Raise RaisedByUserCodeError from whatever came through code of the campaign's own, an interruption aside.

    To the library that reads the command line, EOFError or BrokenPipeError would mean that the user has gone away.
    """
    try:
        yield
    except LongtailError:
        raise
    except BaseException as error:
        if not any(_is_users(frame.f_code.co_filename) for frame, _ in traceback.walk_tb(error.__traceback__)):
            raise
        check_interruption(error)
        raise RaisedByUserCodeError from error


@contextmanager
def user_code(what: str) -> Iterator[None]:
    """Call code of the campaign's own in here; `what` opens the message.

    An Exception passes through. Anything else that it raises would end the command as if all were well, or as if it had
    been interrupted: that becomes UserCodeError. A signal's exception stays what it is, whatever was made of it. What
    the command needs of the process comes back afterwards (see `preserved_process_state`).
    """
    with preserved_process_state(what):
        try:
            yield
        except BaseException as error:
            check_interruption(error)
            if isinstance(error, Exception):
                raise
            raise UserCodeError(f"{what}: {describe_error(error)}{_place(error)}") from error


def check_interruption(error: BaseException) -> None:
    """Raise what a signal's handler raised (Ctrl-C, SIGTERM), where the error is that or was raised in answer to it."""
    handlers = _signal_handlers()
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        if _is_from(handlers, each):
            raise each
        each = each.__cause__ or each.__context__


def describe_error(error: BaseException) -> str:
    """What was raised, in one line of bounded length: `ValueError: the text`. Raises nothing, whatever the error is."""
    if isinstance(error, SystemExit):
        return f"sys.exit({_text(error.code)}) was called"
    try:
        text = printable(f"{error} ".strip())
    except BaseException as failed:  # noqa: BLE001 - a text of the user's own, which may do anything
        check_interruption(failed)
        text = "(it has no text: its __str__ raises)"
    line = text.splitlines()[0] if text else ""
    line = line if len(line) <= MAX_TEXT else f"{line[:MAX_TEXT]}... ({len(text)} characters)"
    name = type(error).__name__
    return f"{name}: {line}" if line else name


def printable(text: str) -> str:
    """The text with what UTF-8 has no bytes for (names of files that are not UTF-8) written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def format_traceback(error: BaseException) -> str:
    """The error's traceback with the frames of the user's own code, and the last one wherever it is.

    Where no frame is the user's, Longtail's own are shown. Everything is where LONGTAIL_TRACEBACK is `full`. Of bounded
    length, and of lines that end in a newline.
    """
    known = traceback.TracebackException.from_exception(error)
    if os.environ.get(FULL_TRACEBACKS) != "full":
        _shorten(known, set())
    text = printable("".join(known.format()))
    half = _MAX_TRACEBACK // 2
    return text if len(text) <= _MAX_TRACEBACK else f"{text[:half]}\n[...]\n{text[-half:]}"


def _place(error: BaseException) -> str:
    """Where in the user's own code it was raised; empty where no frame is of that."""
    frames = [each for each in traceback.extract_tb(error.__traceback__) if _is_users(each.filename)]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def _signal_handlers() -> set[CodeType]:
    handlers = (signal.getsignal(number) for number in SIGNALS)
    codes = (getattr(handler, "__code__", None) for handler in handlers)
    return {code for code in codes if isinstance(code, CodeType)}


def _is_from(handlers: set[CodeType], error: BaseException) -> bool:
    if isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        return True  # its handler has no frame: in notebooks and scripts every KeyboardInterrupt is the user's
    codes = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    if isinstance(error, KeyboardInterrupt) and codes and _is_ours(codes[-1].co_filename):
        return True  # passed on by Longtail, once a signal was seen
    return any(code in handlers for code in codes)


def _text(value: object) -> str:
    try:
        text = "" if value is None else repr(value)
    except Exception:  # noqa: BLE001 - as above
        text = "..."
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}..."


def _shorten(known: traceback.TracebackException, seen: set[int]) -> None:
    """Cut the frames of an error, and of those that it came from, in place."""
    if id(known) in seen:
        return
    seen.add(id(known))
    frames = list(known.stack)
    if frames:
        users = any(_is_users(frame.filename) for frame in frames)
        shown_frames = [
            frame for frame in frames[:-1] if _is_users(frame.filename) or (not users and _is_ours(frame.filename))
        ]
        shown_frames.append(frames[-1])
        cut = len(shown_frames) - _MAX_FRAMES
        if cut > 0:
            place = traceback.FrameSummary(f"... {cut} frames left out ...", 0, "", lookup_line=False, line="")
            shown_frames = [*shown_frames[: _MAX_FRAMES // 4], place, *shown_frames[cut + _MAX_FRAMES // 4 :]]
        known.stack[:] = shown_frames
    for other in (known.__cause__, known.__context__, *(getattr(known, "exceptions", None) or ())):
        if other is not None:
            _shorten(other, seen)


def _is_ours(filename: str) -> bool:
    return filename.startswith(_OURS)


def _is_users(filename: str) -> bool:
    """Neither Longtail's, nor Python's, nor a library's that is not trusted by name."""
    if filename.startswith("<") or _is_ours(filename) or filename == sys.argv[0]:
        return False
    for folder in _LIBRARIES:
        if filename.startswith(folder) and "site-packages" in filename:
            package = filename.rpartition(f"site-packages{os.sep}")[2].partition(os.sep)[0].removesuffix(".py")
            return package in trusted_packages()
        if filename.startswith(folder):
            return False
    return True
