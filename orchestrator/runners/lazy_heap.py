"""Priority queue with lazy deletion of stale entries."""

from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush
from typing import Any, Generic, TypeVar

Entry = TypeVar("Entry", bound=tuple[Any, ...])

_SLACK = 64


class LazyHeap(Generic[Entry]):
    """Finds the smallest valid entry. Entries are not removed: an invalid one is dropped when it comes up.

    `valid` decides about an entry. An entry may be pushed again while it is in the heap. Both methods take amortized
    O(log n) time, and memory is proportional to the valid entries: others are dropped once they outnumber these.
    """

    def __init__(self, valid: Callable[[Entry], bool]) -> None:
        self._valid = valid
        self._entries: list[Entry] = []
        self._limit = _SLACK

    def push(self, entry: Entry) -> None:
        """Add an entry."""
        heappush(self._entries, entry)
        if len(self._entries) > self._limit:
            self._keep(set(filter(self._valid, self._entries)))

    def smallest(self) -> Entry | None:
        """The smallest valid entry, which stays; None where there is none."""
        while self._entries:
            if self._valid(self._entries[0]):
                return self._entries[0]
            heappop(self._entries)
        return None

    def __len__(self) -> int:
        """Entries held, invalid ones included."""
        return len(self._entries)

    def _keep(self, entries: Iterable[Entry]) -> None:
        self._entries = list(entries)
        heapify(self._entries)
        self._limit = 2 * len(self._entries) + _SLACK
