"""Jobs for `run_in_processes`, whose fresh processes import this module, and little else."""

from collections.abc import Callable
from functools import partial

from benchmarks.processes import Place


def prepare(place: Place, factor: int) -> Callable[[int], tuple[int, int]]:
    """The function that multiplies jobs."""
    return partial(_answer, place, factor)


def _answer(place: Place, factor: int, job: int) -> tuple[int, int]:
    place.meet()  # so that each process takes one job
    return place.index, factor * job
