"""Progress of a recipe search: a bar on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from orchestrator.cli.plain_lines import PlainLines
from orchestrator.cli.progress import on_terminal
from workers.campaign.plural import count_text

if TYPE_CHECKING:
    from orchestrator.tuning.session import SearchProgress


@contextmanager
def search_display(console: Console) -> Iterator[Callable[["SearchProgress"], None]]:
    """A display on this console, for one search."""
    if not console.is_terminal:
        lines = PlainLines(console)

        def show_line(now: "SearchProgress") -> None:
            ended = now.ended + now.failed
            lines.show(f"{ended}/{count_text(now.total, 'trial')} ({notes(now)})", must=ended == now.total)

        yield show_line
        return
    columns = (
        TextColumn("trials", style="bold"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[notes]}", style="dim", markup=False),
    )
    with Progress(*columns, console=console, redirect_stdout=on_terminal(sys.stdout)) as bar:
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
