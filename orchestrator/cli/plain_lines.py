"""Progress without a terminal: a line at intervals, never the same line twice in a row."""

import time

from rich.console import Console

PLAIN_SECONDS = 10.0
"""Time between two lines of training."""


class PlainLines:
    """Prints lines of progress: the first once it is `due` (seconds of a clock), the next ones `every` seconds."""

    def __init__(self, console: Console, every: float = PLAIN_SECONDS, due: float = float("-inf")) -> None:
        self._console, self._every, self._due = console, every, due
        self._shown = ""

    def show(self, line: str, at: float | None = None, *, must: bool = False) -> None:
        """Print a line if it says something new, and if one is due at that time (default: now) or it `must` be seen."""
        at = time.monotonic() if at is None else at
        if line == self._shown or not (must or at >= self._due):
            return
        self._due, self._shown = at + self._every, line
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
