"""Shows how a campaign goes: a bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from orchestrator.pace import pace_text
from orchestrator.run import Progress as CampaignProgress

PLAIN_SECONDS = 10.0
"""Time between two plain lines."""


Display = Callable[[CampaignProgress], None]
"""Takes every change of a campaign's progress."""


class Rate:
    """Runs per second since the first worker was ready."""

    def __init__(self) -> None:
        self._started: float | None = None

    def text(self, progress: CampaignProgress) -> str:
        """Rate and time left, as far as they are known."""
        now = time.monotonic()
        if self._started is None:
            if not progress.workers:
                return "starting workers" if progress.committed < progress.total else "nothing left to train"
            self._started = now
        if not progress.trained:
            return "training"
        rate = progress.trained / max(now - self._started, 1e-6)
        return pace_text(rate, progress.total - progress.committed - progress.failed)


def notes(progress: CampaignProgress) -> str:
    """What is out of the ordinary, and the workers."""
    parts = [f"{progress.workers} worker{'s' if progress.workers != 1 else ''}"]
    if progress.nodes > 1:
        parts = [f"{parts[0]} on {progress.nodes} nodes"]
    counts = (("lost", progress.workers_lost), ("diverged", progress.diverged), ("failed", progress.failed))
    return ", ".join(parts + [f"{count} {what}" for what, count in counts if count])


@contextmanager
def campaign_display(console: Console) -> Iterator[Display]:
    """A display on this console, for one campaign."""
    rate = Rate()
    if not console.is_terminal:
        yield _PlainDisplay(console, rate)
        return
    columns = (
        TextColumn("[bold]runs"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[notes]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("runs", total=None, rate="starting", notes="")

        def show(progress: CampaignProgress) -> None:
            bar.update(
                task,
                total=progress.total,
                completed=progress.committed,
                rate=rate.text(progress),
                notes=notes(progress),
            )

        yield show


@contextmanager
def pieces_display(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """Shows on a terminal how many pieces of a longer piece of work are done; nothing elsewhere."""
    if not console.is_terminal:
        yield lambda done, total: None
        return
    columns = (TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, total=total, completed=done)


@contextmanager
def stages_display(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """Shows (what, done, total) of work in stages: a bar for each on a terminal, a line for each elsewhere."""
    if not console.is_terminal:
        stages: list[str] = []

        def tell(what: str, done: int, total: int) -> None:
            if what not in stages:
                stages.append(what)
                console.print(f"{what} ({total})", markup=False, highlight=False, soft_wrap=True)

        yield tell
        return
    columns = (TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)

        yield show


class _PlainDisplay:
    """A line at the start, at the end, and every few seconds between."""

    def __init__(self, console: Console, rate: Rate) -> None:
        self._console = console
        self._rate = rate
        self._last = -PLAIN_SECONDS
        self._shown = ""

    def __call__(self, progress: CampaignProgress) -> None:
        now = time.monotonic()
        text = self._rate.text(progress)
        finished = progress.committed + progress.failed == progress.total
        if not finished and now - self._last < PLAIN_SECONDS:
            return
        self._last = now
        line = f"{progress.committed}/{progress.total} runs, {text} ({notes(progress)})"
        if line != self._shown:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        self._shown = line
