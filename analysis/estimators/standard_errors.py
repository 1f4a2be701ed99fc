"""Expected standard errors of mem for a number of runs, before they are trained.

With s = m / N, n runs are expected to hold s n runs with an example and (1 - s) n without, so that

    SE_i(n)^2 = V_i / n        V_i = p_in (1 - p_in) / s + p_out (1 - p_out) / (1 - s)

At worst p_in = p_out = 1/2 and V = 1 / (4 s (1 - s)). Runs that are there already, a pilot, tell each example's
p_in and p_out. They are taken as (c + 1/2) / (n + 1), the mean under Jeffreys' prior (L. Brown, T. Cai and A. DasGupta,
"Interval estimation for a binomial proportion", Statistical Science 2001), because a few runs that are all right are no
proof that every run will be: p = 0 and p = 1 would promise a standard error of 0. The smaller the pilot, the larger
this makes the standard error of an example that is always right. That is the expected standard error, `expected_se`,
as against the plug-in `se` of estimates; it errs on the side of more runs, and decides when `--until-se` ends a ratio.
Plans by small pilots take the planned standard error of `analysis.estimators.pilots`. A percentile over the examples
is the smallest value that so many of them do not exceed.

V. Feldman and C. Zhang, "What neural networks memorize and why", NeurIPS 2020, bound the error of their estimator,
subsets that hold or lack an example by chance included: with p = min(s, 1 - s),

    E[(est - mem)^2] <= 1 / (p n) + 1 / ((1 - p) n) + exp(-p n / 16) / 2
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from analysis.reading.counts import RatioCounts, StoreCounts
from analysis.statistics.means import difference_se, mean_se
from workers.common.arrays import Floats, Integers
from workers.errors import EstimateError

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("ratio", "example_id", "label", "given_label", "expected_se", "n_in", "n_out")

P90 = 0.9
"""The share of the examples whose standard errors a target is about."""

SMALLEST_TARGET = 1e-4
"""A standard error that takes 10^8 runs."""


def expected_se(counts: StoreCounts, runs: int) -> "pd.DataFrame":
    """One row per ratio and example, with COLUMNS: the standard error of mem expected of `runs` runs at each ratio.

    `n_in` and `n_out` count the pilot's runs. NaN at ratio 1, where mem does not exist, and where every run of the
    pilot diverged. Raises EstimateError where `runs` is not a whole number of at least 1.
    """
    if not isinstance(runs, int | np.integer) or runs < 1:
        raise EstimateError(f"runs must be a whole number of at least 1, got {runs!r}")
    import pandas as pd  # here: counting needs none

    frames = [
        counts.labels.columns().assign(
            ratio=ratio.ratio, expected_se=np.sqrt(unit_variance(ratio) / runs), n_in=ratio.n_in, n_out=ratio.n_out
        )
        for ratio in counts.ratios
    ]
    return pd.concat(frames, ignore_index=True)[list(COLUMNS)]


def unit_variance(at: RatioCounts) -> Floats:
    """V, float64[N]: the squared standard error expected of n runs at this ratio, times n. NaN where there is none."""
    held = at.n_in.mean() / at.runs if at.runs else 0.0  # m / N: every run holds m examples
    if not 0 < held < 1:
        return np.full(len(at.n_in), np.nan)
    p_in, p_out = _jeffreys(at.correct_in, at.n_in), _jeffreys(at.correct_out, at.n_out)
    return p_in * (1 - p_in) / held + p_out * (1 - p_out) / (1 - held)


def largest_unit_variance(share: float) -> float:
    """V of an example that is right half of the time, with it and without; `share` is m / N in (0, 1)."""
    return 0.25 / share + 0.25 / (1 - share)


def percentile(values: Floats, share: float) -> float:
    """The smallest of the values that a `share` of them do not exceed."""
    return float(np.quantile(values, share, method="inverted_cdf"))


def se_of_runs(variance: float, share: float, runs: int) -> float | None:
    """sqrt(V / n); None where less than one run with an example is expected, or less than one without."""
    return math.sqrt(variance / runs) if runs >= _fewest(share) else None


def feldman_zhang_bound(share: float, runs: int) -> float | None:
    """The root of the published bound on mem's mean squared error; None where it is 1 or more, and says nothing."""
    p = min(share, 1 - share)
    squared = 1 / (p * runs) + 1 / ((1 - p) * runs) + math.exp(-p * runs / 16) / 2
    return math.sqrt(squared) if squared < 1 else None


def runs_needed(variance: float, share: float, target: float) -> int:
    """The fewest runs n at which sqrt(V / n) is at most `target`, and that are expected to hold one with an example
    and one without.

    Raises EstimateError where `target` is not from SMALLEST_TARGET to 1.
    """
    if not SMALLEST_TARGET <= target <= 1:
        raise EstimateError(f"target must be from {SMALLEST_TARGET} to 1, got {target!r}")
    runs = max(math.ceil(variance / target**2), _fewest(share))
    # The quotient's rounding may carry it past a whole number.
    near = [each for each in (runs - 1, runs) if each >= _fewest(share) and math.sqrt(variance / each) <= target]
    return min(near, default=runs + 1)


def p90_expected_se(at: RatioCounts) -> float:
    """The 90th percentile over examples of the expected standard error of mem.

    Infinite where more than the rest have no run with them, or none without.
    """
    return percentile(smoothed_se(at), P90)


def smoothed_se(at: RatioCounts) -> Floats:
    """The standard error of mem by each example's own runs, their means smoothed as above: float64[N].

    Infinite where no run holds the example, or none lacks it.
    """
    p_in, p_out = _jeffreys(at.correct_in, at.n_in), _jeffreys(at.correct_out, at.n_out)
    se = difference_se(p_in, at.n_in, p_out, at.n_out)
    return np.where(np.isnan(se), np.inf, se)


def smoothed_cscore_se(ratios: Sequence[RatioCounts]) -> Floats:
    """The standard error of the C-score over ratios under 1, likewise: float64[N]. Infinite where it has no value."""
    errors = np.array([mean_se(_jeffreys(ratio.correct_out, ratio.n_out), ratio.n_out) for ratio in ratios])
    values = (~np.isnan(errors)).sum(axis=0)
    return np.where(values > 0, np.sqrt(np.nansum(errors**2, axis=0)) / np.maximum(values, 1), np.inf)


def _jeffreys(correct: Integers, runs: Integers) -> Floats:
    return (correct + 0.5) / (runs + 1)


def _fewest(share: float) -> int:
    """The fewest runs that are expected to hold one with an example and one without."""
    return math.ceil(1 / min(share, 1 - share) - 1e-9)  # 1 - 0.9 is a little less than 0.1
