"""Errors of agreement between two sets of scores, over examples and over runs.

Both parts by the jackknife (`analysis.statistics.jackknife`): examples leave in EXAMPLE_GROUPS random groups, runs in
groups of their own on each side, whose variances add up. Correlations are taken on Fisher's scale, on which 1 and -1
lie at infinity: they have neither standard error nor limits. The Jaccard index has Wilson's interval at its effective
number of examples. Published scores tell nothing of their runs: then `over`
names the side that is in the error.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.statistics.intervals import check_confidence
from analysis.statistics.jackknife import (
    BOTH,
    EXAMPLES_ONLY,
    Error,
    error_of,
    jackknife_se,
    positive_limits,
    share_limits,
)
from workers.common.arrays import Floats

EXAMPLE_GROUPS = 20
COLUMNS = ("measure", "value", "se", "se_runs", "low", "high", "over")

Measure = Callable[[Floats, Floats], float]
Replicates = npt.NDArray[np.floating] | None


@dataclass(frozen=True)
class Side:
    """One side's scores of the examples compared, float64[n], and without each group of runs, float[g, n]."""

    values: Floats
    replicates: Replicates


def measure_errors(
    a: Side, b: Side, measures: Mapping[str, Measure], shares: Mapping[str, int], confidence: float
) -> pd.DataFrame:
    """One row per measure, with COLUMNS.

    Names that start with `spearman` or `pearson` are correlations; `shares` are those that are shares, of so many
    examples; the others are not negative. Limits are NaN where a measure is, where its standard error is 0 and it is no
    share, and of a correlation of 1 or -1. Raises EstimateError for a bad `confidence`.
    """
    check_confidence(confidence)
    rows = []
    for name, measure in measures.items():
        value = measure(a.values, b.values)
        is_correlation = name in ("spearman", "pearson")
        scaled = _fisher(measure) if is_correlation else measure
        error, over = _error(a, b, scaled)
        low, high = _limits(value, error, confidence, is_correlation, shares.get(name))
        scale = slope(value) if is_correlation else 1.0
        runs = math.nan if error.runs is None else scale * error.runs
        rows.append((name, value, scale * error.se, runs, low, high, over))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _error(a: Side, b: Side, measure: Measure) -> tuple[Error, str]:
    place = np.random.default_rng(0).permutation(len(a.values)) % EXAMPLE_GROUPS
    selections = [place != group for group in range(EXAMPLE_GROUPS)]
    examples = float(jackknife_se(np.array([measure(a.values[some], b.values[some]) for some in selections])))
    ours = None if a.replicates is None else _replicated(a.replicates, b.values, measure)
    theirs = None if b.replicates is None else _replicated(b.replicates, a.values, measure)
    known = [each for each in (ours, theirs) if each is not None]
    error = error_of(examples, *known)
    if error.runs is None:
        return error, EXAMPLES_ONLY
    return error, BOTH if len(known) == 2 else f"examples and runs of {'a' if ours is not None else 'b'}"


def _replicated(replicates: npt.NDArray[np.floating], other: Floats, measure: Measure) -> Floats:
    correlations = []
    for values in replicates:
        some = np.isfinite(values)
        correlations.append(measure(values[some].astype(np.float64), other[some]))
    return np.array(correlations, dtype=np.float64)


def _fisher(correlation: Measure) -> Measure:
    def scaled(x: Floats, y: Floats) -> float:
        return fisher(correlation(x, y))

    return scaled


def fisher(r: float) -> float:
    """atanh(r) of a correlation; NaN where it is 1 or -1."""
    return math.atanh(r) if abs(r) < 1 else math.nan


def slope(r: float) -> float:
    """The factor from a standard error of atanh(r) to that of r; NaN where r is 1 or -1."""
    return 1 - r**2 if abs(r) < 1 else math.nan


def correlation_limits(r: float, reach: float) -> tuple[float, float]:
    """tanh(atanh(r) -+ reach); NaN where r is 1 or -1, or one of the two is NaN."""
    z = fisher(r)
    return math.tanh(z - reach), math.tanh(z + reach)


def _limits(
    value: float, error: Error, confidence: float, is_correlation: bool, share_of: int | None
) -> tuple[float, float]:
    if share_of is not None:
        return share_limits(value, error, share_of, confidence)
    if not is_correlation:
        return positive_limits(value, error, confidence)
    reach = error.reach(confidence) if math.isfinite(value) and math.isfinite(error.se) else 0.0
    return correlation_limits(value, reach) if reach > 0 else (math.nan, math.nan)


def of_examples(replicates: Replicates, ids: npt.NDArray[np.int64]) -> Replicates:
    """The replicates of some examples."""
    return None if replicates is None else replicates[:, ids]


def text_of(errors: pd.DataFrame, name: str) -> str:
    """` (low to high)` of a measure; nothing where it has no limits."""
    row = errors[errors["measure"] == name].iloc[0]
    return "" if row["low"] != row["low"] else f" ({row['low']:.4f} to {row['high']:.4f})"


def names_of(thresholds: Sequence[float], measure: str = "jaccard") -> list[str]:
    """The names of the measures of selections at thresholds, which contain the thresholds."""
    return [f"{measure} {number_text(threshold)}" for threshold in thresholds]


def number_text(number: float) -> str:
    """The shortest text that stands for this number alone: `0.25`, `1`, `0.3333333333333333`."""
    return f"{number:g}" if float(f"{number:g}") == number else repr(float(number))
