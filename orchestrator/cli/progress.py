"""Progress of a campaign: a live view on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from orchestrator.cli.throughput import Rate
from workers.campaign.plural import count_text

if TYPE_CHECKING:
    from orchestrator.campaigns.campaign_report import CampaignProgress

PLAIN_SECONDS = 10.0
"""Time between two plain lines."""


Display = Callable[["CampaignProgress"], None]
"""Takes every change of a campaign's progress."""


def notes(progress: "CampaignProgress") -> str:
    """What is out of the ordinary, and the workers."""
    parts = [count_text(progress.workers, "worker")]
    if progress.nodes > 1:
        parts = [f"{parts[0]} on {count_text(progress.nodes, 'node')}"]
    counts = (("lost", progress.workers_lost), ("diverged", progress.diverged), ("failed", progress.failed))
    return ", ".join(parts + [f"{count} {what}" for what, count in counts if count])


_WHAT = TextColumn("{task.description}", style="bold", markup=False)


@contextmanager
def campaign_display(console: Console, store: str) -> Iterator[Display]:
    """A display on this console, for one campaign; `store` is where its precision is measured on a terminal."""
    rate = Rate()
    if not console.is_terminal:
        yield _PlainDisplay(console, rate)
        return
    from orchestrator.campaigns.se_monitor import Follower
    from orchestrator.cli.live_view import LiveView

    with Follower(store) as follower:
        view = LiveView(rate, lambda: follower.precision)
        with Live(view, console=console, refresh_per_second=2):

            def show(progress: "CampaignProgress") -> None:
                view.progress = progress
                rate.see(progress)

            yield show
            follower.finish()


def _counted_bars(console: Console) -> Progress:
    """Bars of work that is counted, which vanish in the end."""
    columns = (_WHAT, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)


@contextmanager
def pieces_display(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """Shows on a terminal how many pieces of a longer piece of work are done; nothing elsewhere."""
    if not console.is_terminal:
        yield lambda done, total: None
        return
    with _counted_bars(console) as bar:
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
    with _counted_bars(console) as bar:
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

    def __call__(self, progress: "CampaignProgress") -> None:
        now = time.monotonic()
        text = self._rate.text(progress)
        checking = progress.to_check > 0 and progress.found is None
        finished = progress.committed + progress.failed == progress.total and not checking
        if not finished and now - self._last < PLAIN_SECONDS:
            return
        self._last = now
        line = f"{progress.committed}/{count_text(progress.total, 'run')}, {text} ({notes(progress)})"
        if checking:
            line = f"checking what is in the store: {progress.checked:,} of {count_text(progress.to_check, 'file')}"
        if line != self._shown:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        self._shown = line
