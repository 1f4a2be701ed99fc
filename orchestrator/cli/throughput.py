"""Formats training throughput and remaining time."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.campaigns.campaign_report import CampaignProgress


_STALL_SECONDS = 60.0
"""A view reports a stall after this time without a change: user code may hang."""


def rate_text(rate: float) -> str:
    """Runs per second; of slow ones per minute."""
    return f"{rate:.2f} runs/s" if rate >= 0.1 else f"{rate * 60:.2f} runs/min"


def pace_text(rate: float, runs: int) -> str:
    """Runs per second (above 0), and the time that so many runs take."""
    return f"{rate_text(rate)}, {time_left_text(runs / rate)}"


def time_left_text(seconds: float) -> str:
    """Such as `0:02:10 left`."""
    return f"{timedelta(seconds=round(seconds))} left"


class Rate:
    """Runs per second from when the first worker was ready to when nothing was left to train."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started: float | None = None
        self._ended: float | None = None
        self._last_change = (clock(), (0, 0, 0))

    def update(self, progress: "CampaignProgress") -> None:
        """Record the times of the first worker, of the last change and of the end."""
        state = (progress.committed, progress.failed, progress.workers)
        if state != self._last_change[1]:
            self._last_change = (self._clock(), state)
        if self._started is None and progress.workers:
            self._started = self._clock()
        if progress.committed + progress.failed < progress.total:
            self._ended = None
        elif self._ended is None:
            self._ended = self._clock()

    def value(self, progress: "CampaignProgress") -> float | None:
        """Runs per second; None before the first."""
        self.update(progress)
        return progress.trained / max(self._seconds(), 1e-6) if progress.trained else None

    def text(self, progress: "CampaignProgress") -> str:
        """Rate and time left, as far as they are known."""
        rate = self.value(progress)
        if self._started is None:
            return "starting workers" if progress.committed < progress.total else "nothing left to train"
        return pace_text(rate, progress.total - progress.committed - progress.failed) if rate else "training"

    def stall_text(self) -> str:
        """How long no run has ended and no worker has come, once that is long; empty before, and at the end."""
        seconds = self._clock() - self._last_change[0]
        if seconds < _STALL_SECONDS or self._ended is not None:
            return ""
        return f"nothing new for {timedelta(seconds=int(seconds))}"

    def elapsed(self) -> timedelta:
        """Whole seconds since the first worker was ready."""
        return timedelta(seconds=int(self._seconds()))

    def _seconds(self) -> float:
        ended = self._clock() if self._ended is None else self._ended
        return 0.0 if self._started is None else ended - self._started
