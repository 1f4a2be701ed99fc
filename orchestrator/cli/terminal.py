"""Text on a terminal: control characters from files are escaped.

Class names, errors, paths and whole stores come from anybody, and an escape sequence could rewrite what stands on a
screen, retitle its window or type into its shell. So every console of Longtail's is a `TextConsole`, and what Python
itself prints, tracebacks and warnings, goes through one.
"""

import re
import sys
import threading
import traceback
import warnings
from collections.abc import Iterable
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

_CONTROL_CHARACTERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and newline, DEL, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # direction of writing
    "\u2028\u2029"  # line and paragraph separators
    "\u200b\u2060-\u2064\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # what no font shows
    "\ud800-\udfff]"  # halves of characters, as in file names that are not UTF-8
)


def escape_controls(text: str) -> str:
    r"""Text with control characters as Python writes them, ESC as \x1b; tabs and newlines stay."""
    return _CONTROL_CHARACTERS.sub(lambda match: _escaped(ord(match[0])), text)


def escape_line(text: str) -> str:
    r"""Like `escape_controls`, and newline as \n, tab as \t, so that a name cannot start a line."""
    return escape_controls(text).replace("\n", r"\n").replace("\t", r"\t")


def _escaped(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class TextConsole(Console):
    """A console whose strings are text: no markup, no emoji codes, control characters shown. Styles work as ever."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    @property
    def columns(self) -> int | None:
        """Columns of the terminal, or of the environment's COLUMNS; None where there is neither: text has no edge."""
        return self.width if self.is_terminal or self._width else None

    def render_str(self, text: str, **options: Any) -> Text:
        """A string as rich measures and prints it."""
        return super().render_str(escape_controls(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Everything that is printed, in pieces; those that rich itself makes to steer the terminal stay."""
        for segment in super().render(renderable, options):
            if segment.control or not _CONTROL_CHARACTERS.search(segment.text):
                yield segment
            else:
                yield Segment(escape_controls(segment.text), segment.style)


def print_errors_on(console: TextConsole) -> None:
    """Let a console print the tracebacks of errors that nobody catches, and warnings."""

    def write(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True, end="")

    def on_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        write("".join(traceback.format_exception(kind, error, trace)))

    def on_thread_error(failed: threading.ExceptHookArgs) -> None:
        if failed.exc_type is not SystemExit:
            write("".join(traceback.format_exception(failed.exc_type, failed.exc_value, failed.exc_traceback)))

    def on_warning(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = warnings.formatwarning(message, category, filename, lineno, line)
        write(text) if file is None else file.write(escape_controls(text))

    sys.excepthook, threading.excepthook = on_error, on_thread_error
    warnings.showwarning = on_warning
