"""Confidence intervals of means over runs of counts, epochs, shares and group means.

With the mean m of n runs, s its runs' standard deviation, t Student's quantile of n - 1 degrees of freedom and z the
normal quantile of the level:

    counts    gamma limits of Fay and Feuer at the variance v = max(s^2 t^2 / z^2, m) / n of the mean
              low  = G(a; m^2 / v) v / m         high = G(1 - a; (m + w)^2 / (v + w^2)) (v + w^2) / (m + w),  w = 1 / n
    bounded   of values between b and c: Wilson's interval of p = (m - b) / (c - b) at the effective number of runs
              p (1 - p) / v,  v = s^2 t^2 / (z^2 n (c - b)^2); where s is 0 or unknown, at n runs

with a = (1 - level) / 2 and G(., k) the quantile function of a gamma distribution of shape k and scale 1. M. P. Fay and
E. J. Feuer, "Confidence intervals for directly standardized rates: a method based on the gamma distribution",
Statistics in Medicine 1997; E. L. Korn and B. I. Graubard, Survey Methodology 1998, for effective numbers.

Runs that all have the same value show a standard deviation of 0, which is no evidence that others would too. Counts are
then taken for Poisson's, so that no event in n runs leaves up to 3.7 / n a run at 95%: fewer than that only if
events come in bursts. A bounded value varies at most as zeros and ones do, so that n runs are the fewest that it can
be worth. `benchmarks/coverage.py` simulates both.
"""

import numpy as np

from analysis.statistics.intervals import CONFIDENCE, Interval, check_confidence, mean_interval, normal_quantile
from workers.common.arrays import Floats, Integers


def count_interval(mean: Floats, sd: Floats, runs: Integers, confidence: float = CONFIDENCE) -> Interval:
    """Limits of the mean of counts over `runs` runs with the sample deviation `sd` (NaN under two runs), elementwise.

    From 0 to infinity where `runs` is 0. Raises EstimateError for a bad `confidence`.
    """
    from scipy.special import gammaincinv  # here: a third of a second to import

    tail = (1 - float(check_confidence(confidence))) / 2
    variance = _mean_variance(sd, runs, confidence)
    some = np.greater(runs, 0)
    weight = 1 / np.maximum(runs, 1)
    mean = np.where(some, mean, 0.0)
    variance = np.maximum(np.nan_to_num(variance), mean * weight)
    above, spread = mean + weight, variance + weight**2
    high = spread / above * gammaincinv(above**2 / spread, 1 - tail)
    positive = variance > 0
    shape = np.where(positive, mean**2, 1.0) / np.where(positive, variance, 1.0)
    low = np.where(positive, variance / np.where(mean > 0, mean, 1.0) * gammaincinv(shape, tail), 0.0)
    # Shapes so small that a quantile rounds to 0, or so large that rounding passes the mean.
    return np.where(some, np.minimum(low, mean), 0.0), np.where(some, np.maximum(high, mean), np.inf)


def bounded_interval(
    mean: Floats, sd: Floats, runs: Integers, bounds: tuple[float, float], confidence: float = CONFIDENCE
) -> Interval:
    """Limits of the mean over `runs` runs of values within `bounds`, elementwise; the bounds where `runs` is 0.

    `sd` is the sample deviation, NaN under two runs. Raises EstimateError for a bad `confidence`.
    """
    least, most = bounds
    width = most - least
    if width <= 0:  # one value is possible
        same = np.broadcast_to(np.float64(least), np.shape(mean)).copy()
        return same, same.copy()
    share = np.clip((np.where(runs > 0, mean, least) - least) / width, 0, 1)
    variance = np.nan_to_num(_mean_variance(sd / width, runs, confidence))
    return _scaled(share_interval(share, variance, runs, confidence), bounds)


def share_interval(share: Floats, variance: Floats, fewest: Integers, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's interval of a share of this variance, at the effective number of runs p (1 - p) / variance.

    At `fewest` where the variance is 0: the number of independent units, runs, behind the share; [0, 1] where that is 0
    too. Raises EstimateError for a bad `confidence`.
    """
    spread = share * (1 - share)
    known = (variance > 0) & (spread > 0)
    effective = np.where(known, spread / np.where(known, variance, 1.0), fewest)
    return mean_interval(share, np.where(np.greater(fewest, 0), effective, 0), confidence)


def student_quantile(confidence: float, degrees: Floats | float) -> Floats:
    """t such that Student's t of these degrees of freedom lies in -t..t with this probability; NaN where they are 0."""
    from scipy.special import stdtrit  # here: a third of a second to import

    normal_quantile(confidence)  # checks the level
    degrees = np.asarray(degrees, dtype=np.float64)
    usable = degrees > 0
    return np.where(usable, -stdtrit(np.where(usable, degrees, 1.0), (1 - confidence) / 2), np.nan)


def welch_interval(
    means: tuple[float, float], errors: tuple[float, float], runs: tuple[int, int], confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Limits of the difference of two means, the first less the second: `satterthwaite_interval` of two groups."""
    low, high = satterthwaite_interval(
        np.array(means[0] - means[1]), np.array(errors), np.array(runs, dtype=np.int64), confidence
    )
    return float(low), float(high)


def satterthwaite_interval(
    values: Floats, errors: Floats, runs: Integers, confidence: float = CONFIDENCE
) -> tuple[Floats, Floats]:
    """Limits of a sum or difference of means [...] of groups of runs, by a t interval, elementwise.

    `errors` [G, ...] are the standard errors of the G terms, over `runs` [G, ...] independent runs each. NaN where a
    group has fewer than two runs; no width where all errors are 0. Of two means it is Welch's interval. B. L. Welch,
    "The generalization of Student's problem when several different population variances are involved", Biometrika
    1947; F. E. Satterthwaite, "An approximate distribution of estimates of variance components", Biometrics 1946.
    """
    variances = np.square(errors)
    total = variances.sum(axis=0)
    usable = (runs > 1).all(axis=0) & np.isfinite(total)
    spread = (variances**2 / np.maximum(runs - 1, 1)).sum(axis=0)
    varied = usable & (spread > 0)
    degrees = np.where(varied, np.where(varied, total, 1.0) ** 2 / np.where(varied, spread, 1.0), 1.0)
    margin = student_quantile(confidence, degrees) * np.sqrt(np.where(usable, total, np.nan))
    return values - margin, values + margin


def _mean_variance(sd: Floats, runs: Integers, confidence: float) -> Floats:
    """The variance of a mean at which the normal quantile reaches as far as Student's does; NaN under two runs."""
    # A level so small that its quantile rounds to 0 has no width.
    ratio = student_quantile(confidence, np.asarray(runs, dtype=np.float64) - 1.0) / (
        normal_quantile(confidence) or 1.0
    )
    return np.asarray(sd) ** 2 * ratio**2 / np.maximum(runs, 1)


def _scaled(interval: Interval, bounds: tuple[float, float]) -> Interval:
    least, most = bounds
    low, high = (least + (most - least) * limit for limit in interval)
    return low, high
