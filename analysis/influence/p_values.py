"""P-values of influence: the probability of an influence as large where there is none.

Where it does not matter for test example z whether training example i is in a run's subset, any |A_i| of the n runs
are as likely to be A_i as any others. So the number of A_i's runs that are right on z is hypergeometric, exactly: n
runs, t of them right, |A_i| drawn. Its upper tail is the p-value of a positive influence (Fisher's exact test).
"""

import math
from collections.abc import Callable

import numpy as np

from analysis.influence.pair_counter import UNREACHABLE, PairCounts
from analysis.influence.pairs import Pairs
from workers.common.arrays import Floats, Int32s, Integers

_NEGLIGIBLE_LOG = 45.0
"""Terms under exp(-45) of the level that is requested do not change a tail in double precision."""
_LEVEL_MARGIN = 1 + 1e-9
"""Thresholds are computed for a level larger by this factor, so that rounding loses no pair; exact p-values decide."""

_CELLS = 1 << 14
"""Thresholds computed together, so that their numbers fit a core's cache."""


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


def significant_counts(counted: PairCounts, level: float) -> Int32s:
    """The smallest count whose p-value is at most `level`, by a test example's number of right runs and by group.

    int32[runs + 1, groups]; UNREACHABLE where there is none, and for numbers that no test example has.
    """
    runs = counted.bits.runs
    log_factorials = np.array([math.lgamma(k + 1) for k in range(runs + 1)])
    totals = np.unique(counted.bits.correct)
    cells = np.stack(np.meshgrid(counted.sizes, totals)).reshape(2, -1)  # |A_i| and total, row after row
    parts = np.array_split(cells, range(_CELLS, cells.shape[1], _CELLS), axis=1)
    log_level = math.log(level * _LEVEL_MARGIN)
    counts = np.full((runs + 1, len(counted.sizes)), UNREACHABLE)
    thresholds = [_thresholds(runs, part[0], part[1], log_level, log_factorials) for part in parts]
    counts[totals] = np.concatenate(thresholds).reshape(len(totals), len(counted.sizes))
    return counts


def _thresholds(runs: int, n_in: Integers, total: Integers, log_level: float, log_factorials: Floats) -> Integers:
    """The smallest counts c with P[C >= c] <= the level, int64 of each cell."""
    fewest, most = np.maximum(0, total - (runs - n_in)), np.minimum(n_in, total)
    # Beyond the mode the terms fall: the sum starts at the last one that matters, and goes down.
    low, high = (n_in + 1) * (total + 1) // (runs + 2), most
    while (low < high).any():
        middle = (low + high + 1) // 2
        negligible = _log_pmf(runs, n_in, total, middle, log_factorials) < log_level - _NEGLIGIBLE_LOG
        low, high = (
            np.where((low < high) & ~negligible, middle, low),
            np.where((low < high) & negligible, middle - 1, high),
        )
    count = np.minimum(np.maximum(low, fewest), most)
    term = np.exp(_log_pmf(runs, n_in, total, count, log_factorials) - log_level)
    thresholds, tail, cell = count + 1, np.zeros(len(count)), np.arange(len(count))
    while len(cell):
        tail = tail + term
        going = tail <= 1
        thresholds[cell[going]] = count[going]
        going &= count > fewest
        cell, n_in, total, fewest, count = (values[going] for values in (cell, n_in, total, fewest, count))
        tail, term = tail[going], term[going]
        term = term * (count * (runs - n_in - total + count) / ((n_in - count + 1.0) * (total - count + 1.0)))
        count = count - 1
    return np.where(thresholds <= most, thresholds, UNREACHABLE)


def _log_pmf(runs: int, n_in: Integers, total: Integers, count: Integers, f: Floats) -> Floats:
    """log P[C = count]."""
    inside = f[n_in] - f[count] - f[n_in - count]
    outside = f[runs - n_in] - f[total - count] - f[runs - n_in - total + count]
    return np.asarray(inside + outside - (f[runs] - f[total] - f[runs - total]))
