"""Delete-a-group jackknife: the runs' part of an error, combined with the examples' part.

Runs are divided into g groups; x_j is an estimate without the runs of group j, and m the mean of the x_j:

    se_runs^2 = (g - 1) / g  sum_j (x_j - m)^2        of g - 1 degrees of freedom
    se^2      = se_examples^2 + se_runs^2             of (se^2)^2 / (se_runs^4 / (g - 1)) degrees of freedom

Everything that other runs of the same campaign would change is in it, what all examples of a run have in common as
well. The part of the examples, with the runs as they are, holds their noise once more where it is independent between
examples: so the sum errs on the wide side. P. S. Kott, "The delete-a-group jackknife", Journal of Official Statistics
2001; M. Quenouille 1956, J. Tukey 1958; F. E. Satterthwaite, Biometrics Bulletin 1946, for the degrees of freedom.
"""

import math
from dataclasses import dataclass

import numpy as np

from analysis.statistics.intervals import normal_quantile
from analysis.statistics.run_means import share_interval, student_quantile
from workers.common.arrays import Floats, Integers

GROUPS = 20
"""At most so many groups; fewer runs are left out one by one."""

BOTH, EXAMPLES_ONLY = "examples and runs", "examples only"
"""What an error is over."""


@dataclass(frozen=True)
class Error:
    """Standard errors of one estimate over examples and over runs (None: not known) from `groups` groups of runs."""

    examples: float
    runs: float | None
    groups: int = 0

    @property
    def se(self) -> float:
        """Of both parts; of the examples alone where the runs' is not known."""
        return float(np.hypot(self.examples, self.runs or 0.0))

    @property
    def over(self) -> str:
        """What `se` is over."""
        return EXAMPLES_ONLY if self.runs is None else BOTH

    def reach(self, confidence: float) -> float:
        """How far limits lie from the estimate: `se` times Student's quantile. Raises EstimateError for a bad level."""
        if not self.runs or self.groups < 2:
            return self.se * normal_quantile(confidence)
        degrees = (self.groups - 1) * (self.se / self.runs) ** 4
        return self.se * float(student_quantile(confidence, degrees))


def jackknife_se(replicates: Floats) -> Floats:
    """Standard errors from estimates float64[g, ...] that each leave a group of runs out: float64[...].

    A replicate without a value (NaN) is left out; NaN where fewer than two have one.
    """
    known = np.isfinite(replicates)
    count = known.sum(axis=0)
    mean = np.where(known, replicates, 0.0).sum(axis=0) / np.maximum(count, 1)
    squares = (np.where(known, replicates - mean, 0.0) ** 2).sum(axis=0)
    return np.where(count > 1, np.sqrt(squares * (count - 1) / np.maximum(count, 1)), np.nan)


def complete_jackknife_se(replicates: Floats) -> Floats:
    """`jackknife_se` where all replicates have a value, NaN elsewhere: float64[...]."""
    return np.where(np.isfinite(replicates).all(axis=0), jackknife_se(replicates), np.nan)


def without_each_group(count: int) -> list[Integers]:
    """Of `count` rows int64 places, those left when a group is left out, of each of at most GROUPS groups in order."""
    rows = np.arange(count, dtype=np.int64)
    return [np.delete(rows, group) for group in np.array_split(rows, min(GROUPS, count))]


def error_of(examples: float, *replicates: Floats | None) -> Error:
    """An estimate's error: of the examples, and of one or several independent sets of runs, float64[g] each.

    None stands for runs that are not known, which makes the runs' part unknown, as fewer than two groups do.
    """
    if not replicates or any(replicate is None for replicate in replicates):
        return Error(examples, None)
    known = [replicate for replicate in replicates if replicate is not None]
    parts = np.array([float(jackknife_se(each)) for each in known])
    if not np.isfinite(parts).all():
        return Error(examples, None)
    return Error(examples, float(np.sqrt((parts**2).sum())), min(len(each) for each in known))


def share_limits(share: float, error: Error, count: int, confidence: float) -> tuple[float, float]:
    """Wilson's limits of a share of `count` at the effective number that its error tells; NaN where either is NaN."""
    if not math.isfinite(share) or not math.isfinite(error.se):
        return math.nan, math.nan
    variance = (error.reach(confidence) / (normal_quantile(confidence) or 1.0)) ** 2
    low, high = share_interval(np.array(share), np.array(variance), np.array(count), confidence)
    return float(low), float(high)


def positive_limits(value: float, error: Error, confidence: float) -> tuple[float, float]:
    """Limits of a value that is not negative; NaN where it or its error is NaN, or the error is 0."""
    reach = error.reach(confidence) if math.isfinite(value) and math.isfinite(error.se) else 0.0
    return (max(value - reach, 0.0), value + reach) if reach > 0 else (math.nan, math.nan)
