"""Progress of a campaign and of other long work: live on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, TextIO

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

from orchestrator.cli.output import interruption
from orchestrator.cli.plain_lines import PlainLines
from orchestrator.cli.throughput import Rate, time_left_text
from workers.campaign.plural import count_text
from workers.common.progress import StageProgressCallback, no_progress

if TYPE_CHECKING:
    from analysis.scoring.scores import Source
    from orchestrator.campaigns.campaign_report import CampaignProgress
    from workers.store import Store

STAGE_SECONDS = 30.0
"""Time between two plain lines of work other than training, and before the first."""

BLOCKS = "blocks of test examples"
"""Stage of work on pairs of examples."""

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
        yield _plain_campaign(PlainLines(console), rate)
        return
    from orchestrator.campaigns.se_monitor import BackgroundMonitor
    from orchestrator.cli.live_view import LiveView

    with BackgroundMonitor(store) as monitor:
        view = LiveView(rate, lambda: monitor.precision)
        with Live(view, console=console, refresh_per_second=2, redirect_stdout=on_terminal(sys.stdout)):

            def show(progress: "CampaignProgress") -> None:
                view.progress = progress
                rate.update(progress)

            yield show
            monitor.finish()


def on_terminal(stream: TextIO | None) -> bool:
    """Whether lines that are printed there would tear a live view, unless they go through it."""
    return stream is not None and stream.isatty()


@contextmanager
def work_display(console: Console) -> Iterator[StageProgressCallback]:
    """Shows how far each stage of long work is, and its time left: bars on a terminal, a line now and then elsewhere.

    A stage may begin again, such as another pass over the runs. What it yields raises KeyboardInterrupt once a signal
    has asked the command to end.
    """
    if not console.is_terminal:
        yield _interruptible(_PlainStages(console))
        return
    columns = (_WHAT, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            elif done < bar.tasks[tasks[what]].completed:
                bar.reset(tasks[what], total=total)
            bar.update(tasks[what], total=total, completed=done)

        yield _interruptible(show)


@contextmanager
def reading_display(console: Console, store: "Store") -> Iterator[StageProgressCallback]:
    """As `work_display`, and every pass over this store's runs is a stage."""
    with work_display(console) as show:
        store.on_read = partial(show, "runs read")
        try:
            yield show
        finally:
            store.on_read = no_progress


@contextmanager
def sources_display(console: Console, *sources: "Source") -> Iterator[list["Source"]]:
    """As `work_display`; yields the sources, stores opened, and every pass over the runs of one is a stage."""
    from analysis.scoring.scores import is_score_file
    from workers.store import Store

    with work_display(console) as show:
        opened = [
            source if is_score_file(source) or isinstance(source, Store) else Store.open(source) for source in sources
        ]
        stores = [source for source in opened if isinstance(source, Store)]
        for number, store in enumerate(stores, start=1):
            store.on_read = partial(show, "runs read" if len(stores) == 1 else f"runs of store {number} read")
        try:
            yield opened
        finally:
            for store in stores:
                store.on_read = no_progress


def _interruptible(show: StageProgressCallback) -> StageProgressCallback:
    def checked(what: str, done: int, total: int) -> None:
        if interruption.is_set():
            raise KeyboardInterrupt
        show(what, done, total)

    return checked


class _PlainStages:
    """Lines of stages, none before the work has taken a while."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._lines = PlainLines(console, STAGE_SECONDS, due=clock() + STAGE_SECONDS)
        self._clock = clock
        self._begun: dict[str, tuple[float, int]] = {}
        """When each stage began, and how many of its pieces were done last."""

    def __call__(self, what: str, done: int, total: int) -> None:
        now = self._clock()
        begun, before = self._begun.get(what, (now, 0))
        begun = begun if before <= done else now
        self._begun[what] = (begun, done)
        if done >= total:
            return
        left = f", {time_left_text((now - begun) * (total - done) / done)}" if done and now > begun else ""
        self._lines.show(f"{what}: {done:,} of {total:,}{left}", now)


def _plain_campaign(lines: PlainLines, rate: Rate) -> Display:
    """A line at the start, at the end, and every few seconds between."""

    def show(progress: "CampaignProgress") -> None:
        text = rate.text(progress)
        checking = progress.to_check > 0 and progress.found is None
        finished = progress.committed + progress.failed == progress.total and not checking
        line = f"{progress.committed}/{count_text(progress.total, 'run')}, {text} ({notes(progress)})"
        if checking:
            line = f"checking what is in the store: {progress.checked:,} of {count_text(progress.to_check, 'file')}"
        lines.show(line, must=finished)

    return show
