"""Progress of a recipe search: a bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from workers.campaign.plural import count_text

if TYPE_CHECKING:
    from orchestrator.tuning.session import SearchProgress

PLAIN_SECONDS = 10.0
"""Time between two plain lines."""


@contextmanager
def search_display(console: Console) -> Iterator[Callable[["SearchProgress"], None]]:
    """A display on this console, for one search."""
    if not console.is_terminal:
        yield _PlainDisplay(console)
        return
    columns = (
        TextColumn("trials", style="bold"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[notes]}", style="dim", markup=False),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("trials", total=None, notes="starting workers")

        def show(now: "SearchProgress") -> None:
            bar.update(task, total=now.total, completed=now.ended + now.failed, notes=notes(now))

        yield show


def notes(now: "SearchProgress") -> str:
    """What became of the trials that ended."""
    parts = [f"{now.fitted} fitted", f"{now.stopped} stopped"]
    if now.failed:
        parts.append(f"{now.failed} failed")
    if now.best is not None:
        parts.append(f"best held-out {now.best:.4f} ({now.best_recipe})")
    return ", ".join(parts)


class _PlainDisplay:
    """A line at the start, at the end, and every few seconds between."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = -PLAIN_SECONDS
        self._shown = ""

    def __call__(self, now: "SearchProgress") -> None:
        ended = now.ended + now.failed
        line = f"{ended}/{count_text(now.total, 'trial')} ({notes(now)})"
        due = ended == now.total or time.monotonic() - self._last >= PLAIN_SECONDS
        if line != self._shown and due:
            self._last, self._shown = time.monotonic(), line
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
