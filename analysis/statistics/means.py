"""Mean correctness of a group of runs, its standard error, and the value of an empty group.

For a group G of n runs of which c are correct, p = c / n and SE^2 = p (1 - p) / n. A difference of the means of two
disjoint groups has the sum of their squared standard errors.

Means, differences and averages are rounded once, from the exact quotient of whole numbers. So equal values are equal to
the last bit, and a comparison with a threshold is that of the fractions: 12/18 - 5/12 is 0.25 and reaches 0.25, where
a difference of two rounded quotients is 0.24999999999999994. (A threshold such as 0.15 is the float nearest to 3/20,
and so is the value of a pair at 3/20. Groups of n_A and n_B runs and a threshold of d decimals are told apart down to
1 / (n_A n_B 10^d), far above a float's 10^-16.)

Values follow the convention for empty groups. What ranks, selects or shows examples leaves out those that rest on one:
`without_empty_groups`.
"""

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt

from workers.common.arrays import Floats, Integers
from workers.errors import EstimateError

if TYPE_CHECKING:
    import pandas as pd

Empty = Literal["half", "nan", "zero"]
"""The mean of a group without runs: 1/2 as in Feldman & Zhang's paper, NaN, or 0 as in their published code."""


_MEANS: dict[Empty, float] = {"half": 0.5, "nan": float("nan"), "zero": 0.0}
_COUNTS: dict[Empty, tuple[int, int]] = {"half": (1, 2), "nan": (0, 1), "zero": (0, 1)}
"""Correct runs, and runs, of a group that has the convention's mean."""

_SPLIT = 2.0**27 + 1
"""T. J. Dekker, "A floating-point technique for extending the available precision", Numerische Mathematik 1971."""


def empty_mean(empty: Empty) -> float:
    """The mean that an empty group gets. Raises EstimateError for an unknown convention."""
    if empty not in _MEANS:
        raise EstimateError(f"empty must be one of {', '.join(get_args(Empty))}, got {empty!r}")
    return _MEANS[empty]


def group_mean(correct: npt.NDArray[np.number], runs: Integers, empty: Empty) -> Floats:
    """correct / runs as float64, elementwise under broadcasting; the convention's value where runs is 0."""
    return np.where(runs > 0, correct / np.maximum(runs, 1), empty_mean(empty))


def mean_of_finite(values: Floats) -> float:
    """The mean of the finite values of an array; NaN where there is none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")


def mean_difference(
    correct_a: npt.NDArray[np.integer],
    runs_a: Integers,
    correct_b: npt.NDArray[np.integer],
    runs_b: Integers,
    empty: Empty,
) -> Floats:
    """correct_a / runs_a - correct_b / runs_b as float64, rounded once; elementwise under broadcasting.

    Where a group is empty, with the convention's mean. Exact for groups of up to 10^7 runs. Raises EstimateError for an
    unknown `empty`.
    """
    empty_mean(empty)
    correct, runs = _COUNTS[empty]
    some_a, some_b = np.greater(runs_a, 0), np.greater(runs_b, 0)
    if not (some_a.all() and some_b.all()):
        correct_a, runs_a = np.where(some_a, correct_a, correct), np.where(some_a, runs_a, runs)
        correct_b, runs_b = np.where(some_b, correct_b, correct), np.where(some_b, runs_b, runs)
    difference = (np.multiply(correct_a, runs_b, dtype=np.int64) - correct_b * runs_a) / (runs_a * runs_b)
    return np.where(some_a & some_b, difference, np.nan) if empty == "nan" else difference


def average_mean(correct: Integers, runs: Integers) -> Floats:
    """The unweighted average of correct / runs over the first axis, rounded once: int64 [R, ...] gives float64 [...].

    Empty groups are left out; NaN where all are. The sum is taken in twice the precision of float64.
    """
    high, low = np.zeros((2, *correct.shape[1:]))
    for some_correct, some_runs in zip(correct, runs, strict=True):
        high, low = _add_quotient(high, low, np.where(some_runs > 0, some_correct, 0), np.maximum(some_runs, 1))
    groups = (runs > 0).sum(axis=0)
    average = high / np.maximum(groups, 1)
    product, error = _product(average, groups.astype(np.float64))
    average += ((high - product) - error + low) / np.maximum(groups, 1)
    return np.where(groups > 0, average, np.nan)


def _add_quotient(high: Floats, low: Floats, number: Integers, divisor: Integers) -> tuple[Floats, Floats]:
    """high + low + number / divisor, in two parts."""
    quotient = number / divisor
    product, error = _product(quotient, divisor.astype(np.float64))
    remainder = ((number - product) - error) / divisor
    total = high + quotient
    shifted = total - high
    lost = (high - (total - shifted)) + (quotient - shifted)
    low = low + lost + remainder
    first = total + low
    return first, low - (first - total)


def _product(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """a b, and what its rounding lost, exactly."""
    product = a * b
    a_high, b_high = (_SPLIT * each - (_SPLIT * each - each) for each in (a, b))
    a_low, b_low = a - a_high, b - b_high
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def without_empty_groups(frame: "pd.DataFrame") -> "pd.DataFrame":
    """The rows of a frame of estimates that rest on runs on every side: what rankings and selections are made of.

    Those with n_in and n_out over 0, or the one of the two that the frame has. Raises EstimateError where it has
    neither.
    """
    names = [name for name in ("n_in", "n_out") if name in frame]
    if not names:
        raise EstimateError("frame: must have a column n_in or n_out, got neither")
    return frame[(frame[names] > 0).all(axis=1)]


def mean_se(mean: Floats, runs: Integers) -> Floats:
    """sqrt(p (1 - p) / n); NaN where the group is empty."""
    return np.sqrt(squared_se(mean, runs))


def difference_se(mean_a: Floats, runs_a: Integers, mean_b: Floats, runs_b: Integers) -> Floats:
    """sqrt(p_A (1 - p_A) / |A| + p_B (1 - p_B) / |B|); NaN where a group is empty."""
    return np.sqrt(squared_se(mean_a, runs_a) + squared_se(mean_b, runs_b))


def squared_se(mean: Floats, runs: Integers) -> Floats:
    """p (1 - p) / n; NaN where the group is empty."""
    return np.where(runs > 0, mean * (1 - mean) / np.maximum(runs, 1), np.nan)
