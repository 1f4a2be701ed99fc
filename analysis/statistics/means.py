"""The mean correctness of a group of runs, its standard error, and what an empty group means.

For a group G of n runs of which c are correct, p = c / n and SE^2 = p (1 - p) / n. A difference of the means of two
disjoint groups has the sum of their squared standard errors.
"""

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from analysis.errors import EstimateError

Empty = Literal["half", "nan", "zero"]
"""The mean of a group without runs: 1/2 as in Feldman & Zhang's paper, NaN, or 0 as in their published code."""

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

_MEANS: dict[Empty, float] = {"half": 0.5, "nan": float("nan"), "zero": 0.0}


def empty_mean(empty: Empty) -> float:
    """The mean that an empty group gets. Raises EstimateError for an unknown convention."""
    if empty not in _MEANS:
        raise EstimateError(f"empty must be one of {', '.join(get_args(Empty))}, got {empty!r}")
    return _MEANS[empty]


def group_mean(correct: npt.NDArray[np.number], runs: Counts, empty: Empty) -> Floats:
    """correct / runs as float64, elementwise under broadcasting; the convention's value where runs is 0."""
    return np.where(runs > 0, correct / np.maximum(runs, 1), empty_mean(empty))


def mean_se(mean: Floats, runs: Counts) -> Floats:
    """sqrt(p (1 - p) / n); NaN where the group is empty."""
    return np.sqrt(_squared_se(mean, runs))


def difference_se(mean_a: Floats, runs_a: Counts, mean_b: Floats, runs_b: Counts) -> Floats:
    """sqrt(p_A (1 - p_A) / |A| + p_B (1 - p_B) / |B|); NaN where a group is empty."""
    return np.sqrt(_squared_se(mean_a, runs_a) + _squared_se(mean_b, runs_b))


def _squared_se(mean: Floats, runs: Counts) -> Floats:
    return np.where(runs > 0, mean * (1 - mean) / np.maximum(runs, 1), np.nan)
