"""Standard errors of a growing store: median and 90th percentile of mem and C-score.

They are expected standard errors, as of `--until-se` (`analysis.estimators.standard_errors`): means are smoothed, so
that an example that was right in every run so far is not taken to be certain. Every file is read once.
"""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from analysis.estimators.standard_errors import P90, percentile, smoothed_cscore_se, smoothed_se
from analysis.reading.counts import RatioCounts
from analysis.reading.running_counts import RunningCounts
from orchestrator.campaigns.se_percentiles import SePercentiles, StandardErrors
from workers.campaign.campaign import PPM
from workers.campaign.keys import Shard
from workers.common.arrays import Floats
from workers.errors import DamagedFileError, StoreError
from workers.store import Store

_MAX_TIME_SHARE = 1 / 50
"""The largest share of the time that is spent on measuring."""

_UPDATE_SECONDS = 1.0
_PAUSE_SECONDS = 1.0
"""The longest update, and the shortest time between two."""


class StandardErrorMonitor:
    """Measures the standard errors of a store repeatedly; reads only newly committed files."""

    def __init__(self, store: Store) -> None:
        """Raises EstimateError where subsets are explicit, and there is neither mem nor a C-score."""
        self._store = store
        self._counts = RunningCounts(store)
        self._damaged: set[Shard] = set()
        self._measured = StandardErrors({})
        self.unread = 0
        """Committed runs that were not read by the last update."""

    def update(self, should_stop: Callable[[], bool]) -> StandardErrors:
        """Read new files until `should_stop` is true, at least one, and measure. Raises StoreError."""
        new_shards = [
            shard for shard in self._store.shards() if shard not in self._damaged and not self._counts.holds(shard)
        ]
        read = 0
        for shard in new_shards:
            try:
                self._counts.add(shard)
            except DamagedFileError:
                self._damaged.add(shard)  # `longtail verify` names it; the rest can be measured
            read += 1
            if should_stop():
                break
        self.unread = sum(shard.stop - shard.start for shard in new_shards[read:])
        if read:
            self._measured = _standard_errors(
                [ratio for ratio in self._counts.ratios() if ratio.ratio_ppm < PPM and ratio.runs]
            )
        return self._measured


class BackgroundMonitor:
    """Measures a store in a thread of its own, at most 2% of the time, for as long as the `with` block lasts.

    `precision` is what was measured last, None before. Stores that have none, or cannot be read just now, are left
    alone.
    """

    def __init__(self, uri: str) -> None:
        self.precision: StandardErrors | None = None
        self._uri = uri
        self._monitor: StandardErrorMonitor | None = None
        self._stopped = threading.Event()
        # A daemon: a store that does not answer keeps no command from ending.
        self._thread = threading.Thread(target=self._follow, name="precision", daemon=True)
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join(_UPDATE_SECONDS)

    def finish(self) -> None:
        """End the thread, and read what it left, in 2% of the time that it was there."""
        self.__exit__(None, None, None)
        if not self._thread.is_alive():
            now = time.monotonic()
            self._update(now + (now - self._began) * _MAX_TIME_SHARE, lambda: False)

    def _follow(self) -> None:
        pause = _PAUSE_SECONDS
        while not self._stopped.wait(pause):
            began = time.monotonic()
            self._update(began + _UPDATE_SECONDS, self._stopped.is_set)
            pause = max(_PAUSE_SECONDS, (time.monotonic() - began) * (1 / _MAX_TIME_SHARE - 1))

    def _update(self, deadline: float, stopped: Callable[[], bool]) -> None:
        try:
            if self._monitor is None:
                if not Store.exists(self._uri):
                    return
                store = Store.open(self._uri)
                if not store.header.independent:
                    self._stopped.set()
                    return
                self._monitor = StandardErrorMonitor(store)
            self.precision = self._monitor.update(lambda: stopped() or time.monotonic() > deadline)
        except StoreError:
            return  # temporarily unreadable: the next update tries again, and the campaign reports real errors


def _standard_errors(ratios: list[RatioCounts]) -> StandardErrors:
    mem = {ratio.ratio_ppm: _percentiles(ratio.runs, smoothed_se(ratio)) for ratio in ratios}
    if len(ratios) < 2:
        return StandardErrors(mem)
    return StandardErrors(mem, _percentiles(sum(ratio.runs for ratio in ratios), smoothed_cscore_se(ratios)))


def _percentiles(runs: int, errors: Floats) -> SePercentiles:
    return SePercentiles(runs, percentile(errors, 0.5), percentile(errors, P90))
