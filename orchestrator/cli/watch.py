"""`longtail status --watch`: follows a campaign from its store alone, wherever it is trained."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from orchestrator.campaigns.se_percentiles import SePercentiles, StandardErrors, error_text
from orchestrator.cli.plain_lines import PlainLines
from orchestrator.cli.text_table import TableColumn, TextTable
from orchestrator.cli.throughput import pace_text
from orchestrator.store_ops.status import CampaignStatus, StatusReader
from workers.campaign.campaign import PPM
from workers.campaign.plural import count_text
from workers.errors import DamagedFileError, NoStoreError, StoreError
from workers.store import Store

if TYPE_CHECKING:
    from orchestrator.campaigns.se_monitor import StandardErrorMonitor

_RATE_SECONDS = 60.0
_RATE_RUNS = 10
"""The rate is that of the last minute, or of as long as so many runs took."""


@dataclass(frozen=True)
class WatchedStore:
    """State of a watched store."""

    status: CampaignStatus | None = None
    """None before there is a store."""
    unmeasured: int = 0
    """Committed runs that the standard errors do not include yet."""
    rate: float | None = None
    """Runs per second; None until some were committed while the store was watched."""
    precision: StandardErrors | None = None
    """Of the files read so far; None before one was, and where subsets are explicit."""
    problem: str | None = None
    """Why the store could not be read this time; the other fields are as before."""

    @property
    def finished(self) -> bool:
        """Nothing is left to wait for: every requested run is committed, or in a file that cannot be used."""
        return self.problem is None and self.status is not None and self.status.finished and not self.unmeasured

    def summary(self) -> str:
        """Everything but the ratios, in one line."""
        status = self.status
        if status is None:
            return ""
        left = status.requested - status.committed - status.lost
        pace = f", {pace_text(self.rate, left)}" if self.rate is not None and left > 0 else ""
        text = f"{counted_text(status)}{pace}, {status.failed} failed, {status.diverged} diverged"
        unread = max(status.unread, self.unmeasured)
        text += f" (of those read so far; {unread} to read)" if unread else ""
        return f"{text}{damage_text(status)}"


def counted_text(status: CampaignStatus) -> str:
    """How many runs of those requested are there, and how many beyond."""
    beyond = f" (and {status.beyond} more than were requested)" if status.beyond else ""
    return f"{status.committed:,} of {count_text(status.requested, 'run')}{beyond}"


def damage_text(status: CampaignStatus) -> str:
    """How many files cannot be used, and what helps; nothing where all can."""
    if not status.damaged:
        return ""
    files = count_text(len(status.damaged), "damaged file")
    return f", {files}: longtail verify {status.store_uri} --repair, then longtail run"


class Watch:
    """Reads a store repeatedly; it need not exist yet, and may be unreachable at times."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._reader: StatusReader | None = None
        self._view = WatchedStore()
        self._rates = _Rate()
        self._monitor: StandardErrorMonitor | None = None

    def update(self, seconds: float) -> WatchedStore:
        """The store now. New files are read for `seconds`; what is left then is read by later calls.

        Raises DamagedFileError where campaign.json is damaged, NoStoreError where no store can be: unlike an outage,
        that does not pass.
        """
        try:
            if self._reader is None:
                if not Store.exists(self.uri):
                    self._view = WatchedStore(problem="there is no store yet")
                    return self._view
                store = Store.open(self.uri)
                self._reader = StatusReader(store)
                self._monitor = _new_monitor(store) if store.header.independent else None
            status = self._reader.read(seconds)
            rate = self._rates.updated(sum(ratio.committed for ratio in status.ratios))
            self._view = WatchedStore(status, rate=rate)
        except (DamagedFileError, NoStoreError):
            raise
        except StoreError as error:
            self._view = replace(self._view, problem=_problem_text(error))
        return self._view

    def measured(self, seconds: float) -> WatchedStore:
        """The last view with the precision. New files are read for `seconds`, as in `update`."""
        if self._monitor is None or self._view.problem is not None:
            return self._view
        deadline = time.monotonic() + seconds
        try:
            precision = self._monitor.update(lambda: time.monotonic() > deadline)
        except StoreError as error:
            return replace(self._view, problem=_problem_text(error))
        self._view = replace(self._view, precision=precision, unmeasured=self._monitor.unread)
        return self._view


def _new_monitor(store: Store) -> "StandardErrorMonitor":
    """Imported when it is needed: counting imports pandas."""
    from orchestrator.campaigns.se_monitor import StandardErrorMonitor

    return StandardErrorMonitor(store)


class _Rate:
    """Runs per second, from the times at which the number of committed runs was seen to change."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def updated(self, committed: int) -> float | None:
        """The rate now that so many runs are committed."""
        now, previous = time.monotonic(), self._seen
        if not previous or previous[-1][1] != committed:
            previous.append((now, committed))
        while len(previous) > 2 and now - previous[1][0] > _RATE_SECONDS and committed - previous[1][1] >= _RATE_RUNS:
            previous.popleft()
        since, before = previous[0]
        return (committed - before) / (now - since) if committed > before else None


def _problem_text(error: StoreError) -> str:
    return f"temporarily unreadable: {str(error).splitlines()[0]}"


def watch_store(uri: str, every: float, console: Console, pause: Callable[[float], object]) -> CampaignStatus | None:
    """Show a store every so many seconds until all that was requested is committed, or damaged. `pause` waits so long.

    Returns the last status.
    """
    watch = Watch(uri)
    with _painter(uri, console) as paint:
        while True:
            view = watch.update(every)
            paint(view)
            if console.is_terminal:
                view = watch.measured(every)
                paint(view)
            if view.finished:
                return view.status
            pause(every)


@contextmanager
def _painter(uri: str, console: Console) -> Iterator[Callable[[WatchedStore], None]]:
    """What shows a view: repainted in place on a terminal, a line at each change elsewhere."""
    if not console.is_terminal:
        lines = PlainLines(console, every=0)
        yield lambda view: lines.show(f"{uri}: {view.problem}" if view.problem else _line(view))
        return
    with Live(console=console, auto_refresh=False) as live:
        yield lambda view: live.update(_table(uri, view), refresh=True)


def _line(view: WatchedStore) -> str:
    ratios = view.status.ratios if view.status else ()
    if len(ratios) <= 1:
        return view.summary()
    parts = ", ".join(f"{ratio.ratio:g}: {ratio.committed}/{ratio.requested}" for ratio in ratios)
    return f"{view.summary()} ({parts})"


def _table(uri: str, view: WatchedStore) -> Group:
    precision = view.precision or StandardErrors({})
    below = view.summary() if view.problem is None else f"{view.summary()}\n{view.problem}"
    if precision.mem:
        below += "\nexpected se: smoothed standard error of mem, of the median example and what 90% do not exceed"
    return Group(Text(uri, overflow="fold"), ratios_table(view.status, precision), Text(below, overflow="fold"))


def ratios_table(status: CampaignStatus | None, precision: StandardErrors) -> TextTable:
    """A row for each ratio, and one for the C-score where it was measured."""
    errors = (("median expected se", 2), ("90% expected se", 1), ("of runs", 4)) if precision.mem else ()
    columns = (("committed", 0), ("requested", 0), ("diverged", 3), *errors)
    table = TextTable([TableColumn("ratio", kind="text"), *(TableColumn(*column) for column in columns)])
    for row in status.ratios if status else ():
        spread = precision.mem.get(round(row.ratio * PPM))
        cells = _cells(spread) if spread else [None] * len(errors)
        table.add_row(f"{row.ratio:g}", row.committed, row.requested, row.diverged, *cells)
    if precision.cscore:
        table.add_row("C-score", None, None, None, *_cells(precision.cscore)[: len(errors)])
    return table


def _cells(spread: SePercentiles) -> tuple[str, str, str]:
    return error_text(spread.median), error_text(spread.most), str(spread.runs)
