"""Running median of the most recent values."""

from bisect import bisect_left, insort
from collections import deque


class RunningMedian:
    """The median of the last `window` values, kept sorted, so that reading takes constant time."""

    def __init__(self, window: int) -> None:
        self._recent: deque[float] = deque(maxlen=window)
        self._sorted: list[float] = []

    def append(self, value: float) -> None:
        """Add a value; beyond `window` values the oldest is removed."""
        if len(self._recent) == self._recent.maxlen:
            del self._sorted[bisect_left(self._sorted, self._recent[0])]
        self._recent.append(value)
        insort(self._sorted, value)

    def __len__(self) -> int:
        return len(self._sorted)

    def value(self) -> float:
        """The median; the mean of the two middle values where their number is even. At least one value is needed."""
        middle = len(self._sorted) // 2
        if len(self._sorted) % 2:
            return self._sorted[middle]
        return (self._sorted[middle - 1] + self._sorted[middle]) / 2
