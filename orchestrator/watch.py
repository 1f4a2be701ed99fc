"""Follows a campaign from its store alone, wherever it is trained: what is committed, how fast, and how long yet.

A look is one listing. Of the files only the new ones are read, and only for a while at each look: a store of 100,000
files is shown at once, and how many of its runs diverged is known a little later.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pyarrow.compute as pc
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.pace import pace_text
from orchestrator.precision import Gauge, Precision, Spread, error_text
from workers.campaign import PARTS
from workers.errors import DamagedFileError, StoreError
from workers.runs import Run, Shard
from workers.store import Store

_RATE_SECONDS = 60.0
_RATE_RUNS = 10
"""The rate is that of the last minute, or of as long as so many runs took."""


@dataclass(frozen=True)
class WatchedRatio:
    """Runs of one ratio: wanted, committed, and how many of these diverged."""

    ratio: float
    wanted: int
    committed: int
    diverged: int


@dataclass(frozen=True)
class View:
    """What a look at a store gave."""

    ratios: Sequence[WatchedRatio] = ()
    failed: int = 0
    """Runs in shards that were given up."""
    unread: int = 0
    """Committed runs of which it is not known yet whether they diverged."""
    damaged: int = 0
    """Files that cannot be read; `longtail verify` names them."""
    rate: float | None = None
    """Runs per second; None until some were committed while the store was watched."""
    precision: Precision | None = None
    """Of the files read so far; None before one was, and where subsets are explicit."""
    trouble: str | None = None
    """Why the store could not be looked at this time: the rest is as it was."""

    @property
    def wanted(self) -> int:
        """Runs asked for."""
        return sum(ratio.wanted for ratio in self.ratios)

    @property
    def committed(self) -> int:
        """Runs in the store, of those asked for."""
        return sum(min(ratio.committed, ratio.wanted) for ratio in self.ratios)

    @property
    def complete(self) -> bool:
        """Every run asked for is committed."""
        return self.trouble is None and 0 < self.wanted == self.committed

    def summary(self) -> str:
        """Everything but the ratios, in one line."""
        if self.rate is not None and not self.complete:
            pace = f", {pace_text(self.rate, self.wanted - self.committed)}"
        else:
            pace = ""
        diverged = sum(ratio.diverged for ratio in self.ratios)
        text = f"{self.committed} of {self.wanted} runs{pace}, {self.failed} failed, {diverged} diverged"
        text += f" (of those read so far; {self.unread} to read)" if self.unread else ""
        text += f", {self.damaged} damaged files: longtail verify names them" if self.damaged else ""
        return text


class Watch:
    """Looks at a store again and again; it need not be there yet, nor all the time."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._store: Store | None = None
        self._view = View()
        self._read: set[Shard] = set()
        self._damaged: set[Shard] = set()
        self._diverged: set[Run] = set()
        self._rates = _Rate()
        self._gauge: Gauge | None = None

    def look(self, seconds: float) -> View:
        """The store now. New files are read for `seconds`; what is left then is read at later looks."""
        try:
            if self._store is None:
                if not Store.exists(self.uri):
                    self._view = View(trouble="there is no store yet")
                    return self._view
                self._store = Store.open(self.uri)
                self._gauge = None if self._store.header.scored else Gauge(self._store)
            self._view = self._looked(self._store, time.monotonic() + seconds)
        except StoreError as error:
            self._view = replace(self._view, trouble=_trouble(error))
        return self._view

    def measured(self, seconds: float) -> View:
        """The last view with the precision. New files are read for `seconds`, as in `look`."""
        if self._gauge is None or self._view.trouble is not None:
            return self._view
        deadline = time.monotonic() + seconds
        try:
            precision = self._gauge.look(lambda: time.monotonic() > deadline)
        except StoreError as error:
            return replace(self._view, trouble=_trouble(error))
        unread = max(self._view.unread, self._gauge.unread)
        self._view = replace(self._view, precision=precision, unread=unread)
        return self._view

    def _looked(self, store: Store, deadline: float) -> View:
        targets, failures, shards = store.targets(), store.failures(), store.shards()
        committed = _committed(shards)
        self._read_new(store, shards, deadline)
        diverged = Counter(run.parts for run in self._diverged)
        failed = [shard for failure in failures if (shard := Shard.parse(failure.shard_id))]
        return View(
            ratios=[
                WatchedRatio(parts / PARTS, targets.get(parts, 0), committed[parts], diverged[parts])
                for parts in sorted({*targets, *committed})
            ],
            failed=sum(shard.stop - shard.start for shard in failed),
            unread=sum(shard.stop - shard.start for shard in shards if shard not in self._read),
            damaged=len(self._damaged.intersection(shards)),
            rate=self._rates.updated(committed.total()),
        )

    def _read_new(self, store: Store, shards: Sequence[Shard], deadline: float) -> None:
        """Find the diverged runs of shards not read before. A run is known by its name, so that merged files are no
        new runs."""
        for shard in shards:
            if shard in self._read:
                continue
            if time.monotonic() > deadline:
                return
            try:
                table = store.read(shard, ["repetition", "is_final", "status"])
            except DamagedFileError:
                self._damaged.add(shard)
            except StoreError:
                return  # gone since it was listed, or not to be reached: the next listing tells
            else:
                lost = table.filter(pc.and_(table["is_final"], pc.equal(table["status"], "diverged")))
                self._diverged.update(Run(shard.parts, each) for each in lost["repetition"].to_pylist())
            self._read.add(shard)


class _Rate:
    """Runs per second, from the times at which the number of committed runs was seen to change."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def updated(self, committed: int) -> float | None:
        """The rate now that so many runs are committed."""
        now, seen = time.monotonic(), self._seen
        if not seen or seen[-1][1] != committed:
            seen.append((now, committed))
        while len(seen) > 2 and now - seen[1][0] > _RATE_SECONDS and committed - seen[1][1] >= _RATE_RUNS:
            seen.popleft()
        since, before = seen[0]
        return (committed - before) / (now - since) if committed > before else None


def _committed(shards: Sequence[Shard]) -> Counter[int]:
    """Runs at each ratio (parts per million) in ascending shards, each once: shards overlap where files were merged."""
    counts: Counter[int] = Counter()
    ends: Counter[int] = Counter()
    for shard in shards:
        counts[shard.parts] += max(0, shard.stop - max(shard.start, ends[shard.parts]))
        ends[shard.parts] = max(shard.stop, ends[shard.parts])
    return counts


def _trouble(error: StoreError) -> str:
    return f"not to be read just now: {str(error).splitlines()[0]}"


def watch_store(uri: str, every: float, console: Console, pause: Callable[[float], object]) -> None:
    """Show a store every so many seconds until all that was asked for is committed. `pause` waits so long."""
    watch = Watch(uri)
    with _painter(uri, console) as paint:
        while True:
            view = watch.look(every)
            paint(view)
            if console.is_terminal:
                view = watch.measured(every)
                paint(view)
            if view.complete and not view.unread:
                return
            pause(every)


@contextmanager
def _painter(uri: str, console: Console) -> Iterator[Callable[[View], None]]:
    """What shows a view: repainted in place on a terminal, a line at each change elsewhere."""
    if not console.is_terminal:
        shown = ""

        def paint(view: View) -> None:
            nonlocal shown
            line = f"{uri}: {view.trouble}" if view.trouble else _line(view)
            if line != shown:
                console.print(line, markup=False, highlight=False, soft_wrap=True)
            shown = line

        yield paint
        return
    with Live(console=console, auto_refresh=False) as live:
        yield lambda view: live.update(_table(uri, view), refresh=True)


def _line(view: View) -> str:
    if len(view.ratios) <= 1:
        return view.summary()
    parts = ", ".join(f"{ratio.ratio:g}: {ratio.committed}/{ratio.wanted}" for ratio in view.ratios)
    return f"{view.summary()} ({parts})"


def _table(uri: str, view: View) -> Group:
    precision = view.precision or Precision({})
    errors = ("median se", "90% se", "of runs") if precision.mem else ()
    table = Table("ratio", "committed", "wanted", "diverged", *errors, box=None, header_style="bold")
    for row in view.ratios:
        spread = precision.mem.get(round(row.ratio * PARTS))
        cells = [f"{row.ratio:g}", str(row.committed), str(row.wanted), str(row.diverged)]
        table.add_row(*cells, *(_cells(spread) if spread else ()))
    if precision.cscore:
        table.add_row("C-score", "", "", "", *_cells(precision.cscore))
    below = view.summary() if view.trouble is None else f"{view.summary()}\n{view.trouble}"
    if errors:
        below += "\nse: standard error of mem, of the median example and what 90% do not exceed"
    return Group(Text(uri, overflow="fold"), table, Text(below, overflow="fold"))


def _cells(spread: Spread) -> tuple[str, str, str]:
    return error_text(spread.median), error_text(spread.most), str(spread.runs)
