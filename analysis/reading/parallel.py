"""Maps a function over pieces of work, on all cores or on another executor with the same method."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from workers.common.progress import ProgressCallback
from workers.common.usable_cores import usable_cores

Shared = TypeVar("Shared")
Piece = TypeVar("Piece")
Result = TypeVar("Result")


class ParallelMap(Protocol):
    """Where pieces of work are done."""

    def map(self, work: Callable[[Shared, Piece], Result], shared: Shared, pieces: Sequence[Piece]) -> Iterator[Result]:
        """The results in the order of the pieces; `work` is a module's function. Closing it early ends the work."""


class Threads:
    """On this machine's cores, or on `count` of them."""

    def __init__(self, count: int | None = None, on_progress: ProgressCallback | None = None) -> None:
        self.count = count or usable_cores()
        self.on_progress = on_progress

    def map(self, work: Callable[[Shared, Piece], Result], shared: Shared, pieces: Sequence[Piece]) -> Iterator[Result]:
        """See `ParallelMap.map`. The work must let go of Python's lock to gain anything."""
        pool = ThreadPoolExecutor(self.count)
        try:
            # Few in advance, so that results that nobody has taken yet do not fill the memory.
            waiting = [pool.submit(work, shared, piece) for piece in pieces[: 2 * self.count]]
            for done in range(len(pieces)):
                result = waiting.pop(0).result()
                if done + 2 * self.count < len(pieces):
                    waiting.append(pool.submit(work, shared, pieces[done + 2 * self.count]))
                if self.on_progress is not None:
                    self.on_progress(done + 1, len(pieces))
                yield result
        finally:
            pool.shutdown(cancel_futures=True)
