"""How fast runs are trained, in words."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.run import Progress


def rate_text(rate: float) -> str:
    """Runs per second; of slow ones per minute."""
    return f"{rate:.2f} runs/s" if rate >= 0.1 else f"{rate * 60:.2f} runs/min"


def pace_text(rate: float, runs: int) -> str:
    """Runs per second (above 0), and the time that so many runs take."""
    return f"{rate_text(rate)}, {timedelta(seconds=round(runs / rate))} left"


class Rate:
    """Runs per second from when the first worker was ready to when nothing was left to train."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started: float | None = None
        self._ended: float | None = None

    def see(self, progress: "Progress") -> None:
        """Take the time, if a worker is ready, and if nothing is left."""
        if self._started is None and progress.workers:
            self._started = self._clock()
        if progress.committed + progress.failed < progress.total:
            self._ended = None
        elif self._ended is None:
            self._ended = self._clock()

    def value(self, progress: "Progress") -> float | None:
        """Runs per second; None before the first."""
        self.see(progress)
        return progress.trained / max(self._seconds(), 1e-6) if progress.trained else None

    def text(self, progress: "Progress") -> str:
        """Rate and time left, as far as they are known."""
        rate = self.value(progress)
        if self._started is None:
            return "starting workers" if progress.committed < progress.total else "nothing left to train"
        return pace_text(rate, progress.total - progress.committed - progress.failed) if rate else "training"

    def elapsed(self) -> timedelta:
        """Whole seconds since the first worker was ready."""
        return timedelta(seconds=int(self._seconds()))

    def _seconds(self) -> float:
        ended = self._clock() if self._ended is None else self._ended
        return 0.0 if self._started is None else ended - self._started
