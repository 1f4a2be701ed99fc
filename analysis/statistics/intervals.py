"""Score confidence intervals of estimates, valid for few runs and for p near 0 or 1, unlike p +- z SE.

With z the normal quantile of the level, and [l, u] Wilson's interval of a group of n runs with mean p:

    mean        [l, u] = (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)
    difference  p_A - p_B - sqrt((p_A - l_A)^2 + (u_B - p_B)^2)  to  p_A - p_B + sqrt((u_A - p_A)^2 + (p_B - l_B)^2)
    average     Wilson's interval of C = mean_r p_r at n = C (1 - C) / V runs, V = sum_r q_r (1 - q_r) / n_r / R^2,
                with q_r = (n_r p_r + z^2 C) / (n_r + z^2)

E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927. R. G. Newcombe,
"Interval estimation for the difference between independent proportions: comparison of eleven methods", Statistics in
Medicine 1998, method 10. The average has the interval of one mean at the effective number of runs, as is done for
surveys with strata (E. L. Korn and B. I. Graubard, "Confidence intervals for proportions with small expected number of
positive counts estimated from survey data", Survey Methodology 1998). Its variance is that of means drawn a little to
their average: a ratio whose few runs are all right is not certain. It holds its level with few runs at many ratios,
where combining the ratios' own limits does not: `benchmarks/coverage.py`.

An interval belongs to the data, not to the value that a convention gives to an empty group: nothing is known of that
group's mean, so its interval is [0, 1], and a difference takes the whole of it: from l_A - u_B to u_A - l_B.

A level holds for one example or pair that was named beforehand. Of thousands at 95%, one in twenty misses, and those
picked because their estimate is large were picked for their luck too: their true values tend to lie lower.
"""

from numbers import Real
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from workers.common.arrays import Floats
from workers.errors import EstimateError

CONFIDENCE = 0.95

Interval = tuple[Floats, Floats]
"""Lower and upper limits."""


def check_confidence(confidence: float) -> float:
    """The level as it is. Raises EstimateError where it is no number strictly between 0 and 1."""
    if not (isinstance(confidence, Real) and 0 < confidence < 1):
        raise EstimateError(f"confidence must be greater than 0 and less than 1, got {confidence!r}")
    return confidence


def mean_interval(mean: npt.ArrayLike, runs: npt.ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval of the mean of `runs` zeros and ones, float64, elementwise under broadcasting.

    Takes numbers, arrays and sequences; two numbers give arrays of no dimensions. [0, 1] where `runs` is 0, whatever
    the mean. Raises EstimateError for a bad `confidence`.
    """
    z = normal_quantile(confidence)
    mean, runs = np.asarray(mean, np.float64), np.asarray(runs, np.float64)
    centre = 2 * runs * mean + z**2
    half = z * np.sqrt(z**2 + 4 * runs * mean * (1 - mean))
    some = np.greater(runs, 0)
    scale = 2 * (np.where(some, runs, 1) + z**2)
    # A mean of exactly 0 or 1 is a limit itself, which rounding may miss.
    low, high = np.minimum((centre - half) / scale, mean), np.maximum((centre + half) / scale, mean)
    return np.where(some, np.maximum(low, 0.0), 0.0), np.where(some, np.minimum(high, 1.0), 1.0)


def difference_interval(
    mean_a: npt.ArrayLike,
    runs_a: npt.ArrayLike,
    mean_b: npt.ArrayLike,
    runs_b: npt.ArrayLike,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Newcombe's interval of mean_a - mean_b of two independent groups, float64, elementwise under broadcasting.

    Where a group is empty, from l_A - u_B to u_A - l_B. Raises EstimateError for a bad `confidence`.
    """
    low_a, high_a = mean_interval(mean_a, runs_a, confidence)
    low_b, high_b = mean_interval(mean_b, runs_b, confidence)
    mean_a, mean_b = np.asarray(mean_a, np.float64), np.asarray(mean_b, np.float64)
    difference = mean_a - mean_b
    low = difference - np.sqrt((mean_a - low_a) ** 2 + (high_b - mean_b) ** 2)
    high = difference + np.sqrt((high_a - mean_a) ** 2 + (mean_b - low_b) ** 2)
    both = np.greater(runs_a, 0) & np.greater(runs_b, 0)
    return np.where(both, np.maximum(low, -1.0), low_a - high_b), np.where(both, np.minimum(high, 1.0), high_a - low_b)


def average_interval(means: npt.ArrayLike, runs: npt.ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """Interval of the unweighted average of independent means over the first axis: [R, ...] gives [...], float64.

    Means of empty groups are left out; [0, 1] where all are. Raises EstimateError for a bad `confidence`.
    """
    some = np.greater(runs, 0)
    groups = some.sum(axis=0)
    means, weights = np.where(some, means, 0.0), np.where(some, 1 / np.maximum(runs, 1), 0.0)
    average = means.sum(axis=0) / np.maximum(groups, 1)
    pseudo_runs = normal_quantile(confidence) ** 2 * weights
    shrunk = (means + pseudo_runs * average) / (1 + pseudo_runs)
    spread, variance = average * (1 - average), (weights * shrunk * (1 - shrunk)).sum(axis=0)
    # Where the average is 0 or 1 all means are, and both are 0: their ratio is that of means that do not differ.
    inverse = np.where(spread > 0, variance / np.where(spread > 0, spread, 1.0), weights.sum(axis=0))
    # It is 0 too where the level's quantile rounds to 0: then the limits are the average, whatever the runs.
    return mean_interval(average, groups**2 / np.where(inverse > 0, inverse, 1.0), confidence)


def normal_quantile(confidence: float) -> float:
    """z such that a standard normal value lies in -z..z with this probability. Raises EstimateError for a bad one."""
    # In the lower tail: a level just under 1 would round to 1 in the upper one.
    return -NormalDist().inv_cdf((1 - float(check_confidence(confidence))) / 2)
