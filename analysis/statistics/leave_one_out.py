"""Means and squared deviations over all rows but one, for each row, whose own value takes no part in any rounding.

Of row k: the rows above it and the rows below it, merged. Subtracting row k from the sums over all rows would leave its
rounding behind, and loses digits where one value is large. T. F. Chan, G. H. Golub and R. J. LeVeque, "Algorithms for
computing the sample variance", The American Statistician 1983, for the merge; Welford's updates within each part.
"""

from typing import NamedTuple

import numpy as np

from analysis.statistics.moments import RunMoments
from workers.common.arrays import Bools, Floats


class Moments(NamedTuple):
    """Of each column and left-out row: number of values, their mean (0 where none), sum of squared deviations."""

    n: Floats
    mean: Floats
    squares: Floats

    @property
    def variance(self) -> Floats:
        """With n - 1 in the denominator; NaN under two values."""
        return np.where(self.n > 1, self.squares, np.nan) / np.maximum(self.n - 1, 1)


def leave_one_out(values: Floats, chosen: Bools) -> Moments:
    """Arrays float64[K, b]: row k has the moments of the chosen rows other than k, of values float64[K, b]."""
    above, below = _running(values, chosen), _running(values[::-1], chosen[::-1])
    return _merged(above, Moments(*(each[::-1] for each in below)))


def leave_one_out_mean(values: Floats, chosen: Bools) -> Floats:
    """As `leave_one_out`, the means alone, of values that are all of one size; NaN where no row is left."""
    total = np.zeros_like(values)
    some = np.where(chosen, values, 0.0)
    np.cumsum(some[:-1], axis=0, out=total[1:])
    total[:-1] += np.cumsum(some[:0:-1], axis=0)[::-1]
    count = chosen.sum(axis=0) - chosen
    means: Floats = np.where(count > 0, total, np.nan) / np.maximum(count, 1)
    return means


def _running(values: Floats, chosen: Bools) -> Moments:
    """Of the chosen rows above each."""
    moments = Moments(*np.zeros((3, *values.shape)))
    running = RunMoments(values.shape[1:])
    for row, value in enumerate(np.where(chosen, values, np.nan)):
        moments.n[row], moments.squares[row] = running.n, running.squares
        moments.mean[row] = np.where(running.n > 0, running.mean, 0.0)
        running.add(value)
    return moments


def _merged(a: Moments, b: Moments) -> Moments:
    n = a.n + b.n
    share = b.n / np.maximum(n, 1)
    change = b.mean - a.mean
    return Moments(n, a.mean + change * share, a.squares + b.squares + change**2 * a.n * share)
