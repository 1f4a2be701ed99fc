"""Confidence intervals of proportions of runs, and of differences and means of them.

One mean: Wilson's score interval (E. B. Wilson, JASA 22, 1927), with k of n runs right and z the normal quantile,

    (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n),    p = k/n

A difference of two means: Newcombe's hybrid of their score intervals (l, u), method 10 of R. G. Newcombe, "Interval
estimation for the difference between independent proportions", Statistics in Medicine 17 (1998),

    p_A - p_B - sqrt((p_A - l_A)^2 + (u_B - p_B)^2)   to   p_A - p_B + sqrt((u_A - p_A)^2 + (p_B - l_B)^2)

The mean of R independent means: the same recovery of variances (G. Y. Zou and A. Donner, "Construction of confidence
limits about effect measures", Statistics in Medicine 27, 2008),

    mean_r p_r - sqrt(sum_r (p_r - l_r)^2) / R   to   mean_r p_r + sqrt(sum_r (u_r - p_r)^2) / R

Unlike estimate +- 1.96 SE they hold near 0 and 1, where most examples are. A group without runs has the interval from 0
to 1: nothing is known of it, whatever its mean is taken to be.
"""

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from analysis.errors import EstimateError
from analysis.means import Counts, Floats

CONFIDENCE = 0.95


def wilson(correct: npt.NDArray[np.number], runs: Counts, confidence: float = CONFIDENCE) -> tuple[Floats, Floats]:
    """Low and high of the mean of `correct` of `runs` runs, float64, elementwise under broadcasting.

    Raises EstimateError for a `confidence` outside (0, 1).
    """
    squared = _quantile(confidence) ** 2
    n = np.maximum(runs, 1)
    p = correct / n
    middle = p + squared / (2 * n)
    reach = np.sqrt(squared * (p * (1 - p) / n + squared / (4 * n**2)))
    low, high = (middle - reach) / (1 + squared / n), (middle + reach) / (1 + squared / n)
    # At the ends rounding alone keeps the limits from 0 and 1.
    low, high = np.where(correct == 0, 0.0, low), np.where(correct == runs, 1.0, high)
    return np.where(runs > 0, low, 0.0), np.where(runs > 0, high, 1.0)


def newcombe(
    correct_a: npt.NDArray[np.number],
    runs_a: Counts,
    correct_b: npt.NDArray[np.number],
    runs_b: Counts,
    confidence: float = CONFIDENCE,
) -> tuple[Floats, Floats]:
    """Low and high of the difference of two means, a - b, float64, elementwise under broadcasting.

    Where one group has no runs, what is known is the other: the limits are those of its interval, less 0 to 1.
    """
    low_a, high_a = wilson(correct_a, runs_a, confidence)
    low_b, high_b = wilson(correct_b, runs_b, confidence)
    p_a, p_b = correct_a / np.maximum(runs_a, 1), correct_b / np.maximum(runs_b, 1)
    difference = p_a - p_b
    low = difference - np.hypot(p_a - low_a, high_b - p_b)
    high = difference + np.hypot(high_a - p_a, p_b - low_b)
    known = (runs_a > 0) & (runs_b > 0)
    return np.where(known, low, low_a - high_b), np.where(known, high, high_a - low_b)


def _quantile(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise EstimateError(f"confidence must be between 0 and 1, got {confidence!r}")
    return float(ndtri((1 + confidence) / 2))
