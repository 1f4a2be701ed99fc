"""Median and 90th percentile of the standard errors of a store's estimates, as values: nothing is computed here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SePercentiles:
    """The standard error of an estimate that half and that 90% of the examples do not exceed, from so many runs.

    Infinite where too many examples have no such estimate yet.
    """

    runs: int
    median: float
    most: float


@dataclass(frozen=True)
class StandardErrors:
    """mem at each ratio under 1 (parts per million) that has runs, and the C-score where there are several of them."""

    mem: dict[int, SePercentiles]
    cscore: SePercentiles | None = None


def error_text(error: float) -> str:
    """A standard error; a dash where it is infinite."""
    return f"{error:.3f}" if error < float("inf") else "-"
