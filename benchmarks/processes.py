"""Runs the same function in several fresh processes at once, timed from the moment that all of them are ready."""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from typing import Any, Generic, TypeVar

import torch

Job = TypeVar("Job")
Result = TypeVar("Result")

READY_SECONDS = 900.0
"""So long processes wait for each other to load their data."""


@dataclass(frozen=True)
class Place:
    """Which of the processes this is, from 0; `meet` waits until all of them have called it."""

    index: int
    meet: Callable[[], None]


@dataclass(frozen=True)
class Timed(Generic[Result]):
    """Results in the order of the jobs; seconds until every process was ready, and from then to the last result."""

    results: list[Result]
    startup_seconds: float
    seconds: float


_function: Callable[[Any], Any] | None = None
_barrier: Barrier | None = None


def run_in_processes(
    count: int,
    threads: int | None,
    prepare: Callable[..., Callable[[Job], Result]],
    arguments: Sequence[Any],
    jobs: Sequence[Job],
) -> Timed[Result]:
    """Call `prepare(place, *arguments)` once in each process; what it returns does the jobs, in their order.

    `threads` are torch's in each process, None: as many as it takes by itself. Everything passed must be picklable.
    What a job raises passes through; BrokenProcessPool where a process dies.
    """
    started = time.perf_counter()
    # Fresh interpreters: nothing of this process's torch or CUDA state, and no copy of its threads.
    context = multiprocessing.get_context("spawn")
    barrier, numbers = context.Barrier(count), context.SimpleQueue()
    for number in range(count):
        numbers.put(number)
    with ProcessPoolExecutor(
        count, context, _start, (barrier, numbers, threads, prepare, tuple(arguments))
    ) as executor:
        for ready in [executor.submit(_meet) for _ in range(count)]:
            ready.result()
        startup = time.perf_counter() - started
        results = [future.result() for future in [executor.submit(_do, job) for job in jobs]]
        return Timed(results, startup, time.perf_counter() - started - startup)


def _start(barrier: Barrier, numbers: Any, threads: int | None, prepare: Any, arguments: tuple[Any, ...]) -> None:
    global _function, _barrier
    _barrier = barrier
    if threads is not None:
        torch.set_num_threads(threads)
    _function = prepare(Place(numbers.get(), _meet), *arguments)


def _meet() -> None:
    if _barrier is None:
        raise RuntimeError("this process was not started by run_in_processes")
    _barrier.wait(READY_SECONDS)


def _do(job: Any) -> Any:
    if _function is None:
        raise RuntimeError("this process was not started by run_in_processes")
    return _function(job)
