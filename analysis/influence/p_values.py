"""P-values of influence: the probability of an influence as large where there is none.

Where it does not matter for test example z whether training example i is in a run's subset, any |A_i| of the n runs
are as likely to be A_i as any others. So the number of A_i's runs that are right on z is hypergeometric, exactly: n
runs, t of them right, |A_i| drawn. Its upper tail is the p-value of a positive influence (Fisher's exact test).
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from analysis.influence.pair_counter import UNREACHABLE, PairCounts
from analysis.influence.pairs import Pairs
from workers.common.arrays import Floats, Int32s, Integers
from workers.common.numba_jit import compiled

_NEGLIGIBLE_LOG = 45.0
"""Terms under exp(-45) of the level that is requested do not change a tail in double precision."""
_LEVEL_MARGIN = 1 + 1e-9
"""Thresholds are computed for a level larger by this factor, so that rounding loses no pair; exact p-values decide."""


def p_values(pairs: Pairs, n_in: Integers, total: Integers, runs: int) -> Floats:
    """P[C >= correct_in] of each pair, float64; `n_in` and `total` are int64 of each pair."""
    keys = np.stack([n_in, total, pairs.correct_in])
    distinct, where = np.unique(keys, axis=1, return_inverse=True)
    sizes, totals, counts = distinct
    fewest = np.maximum(0, totals - (runs - sizes))
    values = np.where(counts <= fewest, 1.0, _survival()(counts - 1, totals, sizes, runs))
    return np.clip(values, 0, 1)[where.reshape(-1)]


def q_values(values: Floats, tried: int) -> Floats:
    """Benjamini and Hochberg's adjusted p-values of `tried` tests, where all up to the largest given one are given."""
    order = np.argsort(values)
    raw = values[order] * tried / np.arange(1, len(values) + 1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.minimum.accumulate(raw[::-1])[::-1], 1.0)
    return adjusted


def _survival() -> Callable[..., Floats]:
    """P[C > c] by c, right runs, drawn runs and runs: the function under scipy.stats.hypergeom.

    scipy.stats takes as long to import as all else that an estimate needs together.
    """
    try:
        from scipy.special._ufuncs import _hypergeom_sf as survival
    except ImportError:  # another version of scipy
        from scipy.stats import hypergeom

        return lambda count, total, n_in, runs: np.asarray(hypergeom.sf(count, runs, total, n_in))
    typed: Callable[..., Floats] = survival
    return typed


def significant_counts(counted: PairCounts, total: Integers, level: float) -> Int32s:
    """int32[tests, groups]: the smallest count whose p-value is at most `level`; UNREACHABLE where none is.

    `total` (int64[tests]) is each test's number of right runs.
    """
    runs = counted.bits.runs
    log_factorials = np.array([math.lgamma(k + 1) for k in range(runs + 1)])
    distinct, where = np.unique(total, return_inverse=True)
    thresholds = np.empty((len(distinct), len(counted.sizes)), np.int32)
    _fill_thresholds(thresholds, runs, counted.sizes, distinct, math.log(level * _LEVEL_MARGIN), log_factorials)
    return np.ascontiguousarray(thresholds[where])


@compiled
def _fill_thresholds(
    thresholds: Int32s, runs: int, sizes: Integers, totals: Integers, log_level: float, log_factorials: Floats
) -> None:
    for row in range(len(totals)):
        for column in range(len(sizes)):
            thresholds[row, column] = _threshold(runs, sizes[column], totals[row], log_level, log_factorials)


@compiled
def _threshold(runs: int, n_in: int, total: int, log_level: float, log_factorials: Floats) -> Any:
    """The smallest count c with P[C >= c] <= the level."""
    fewest, most = max(0, total - (runs - n_in)), min(n_in, total)
    # Beyond the mode the terms fall: the sum starts at the last one that matters, and goes down.
    low, high = (n_in + 1) * (total + 1) // (runs + 2), most
    while low < high:
        middle = (low + high + 1) // 2
        if _log_pmf(runs, n_in, total, middle, log_factorials) < log_level - _NEGLIGIBLE_LOG:
            high = middle - 1
        else:
            low = middle
    count, tail = min(max(low, fewest), most), 0.0
    term = math.exp(_log_pmf(runs, n_in, total, count, log_factorials) - log_level)
    threshold = count + 1
    while count >= fewest:
        tail += term
        if tail > 1:
            break
        threshold = count
        term *= count * (runs - n_in - total + count) / ((n_in - count + 1.0) * (total - count + 1.0))
        count -= 1
    return threshold if threshold <= most else UNREACHABLE


@compiled
def _log_pmf(runs: int, n_in: int, total: int, count: int, f: Floats) -> Any:
    """log P[C = count]."""
    inside = f[n_in] - f[count] - f[n_in - count]
    outside = f[runs - n_in] - f[total - count] - f[runs - n_in - total + count]
    return inside + outside - (f[runs] - f[total] - f[runs - total])
