"""Influence of groups of training examples: regression of correctness on how many of a group a run trained on.

With c_k(G) the number of examples of group G in run k's subset, and y_k(z) whether run k is right on test example z, or
the share of the test examples of a class (or of all) that it is right on,

    beta(G, z) = cov_k(c, y) / var_k(c)       per example: what one more example of the group in the subset changes
    infl(G, z) = |G| beta(G, z)               all of the group against none, by that line
    SE(beta)   = sqrt(sum_k (y_k - fit_k)^2 / (n - 2) / sum_k (c_k - mean c)^2)

Subsets have a fixed size m of N, so one more example of the group stands in place of one outside. If outputs are linear
in memberships, y = b + sum_i w_i 1[i in S], then

    beta = mean of w in G less mean of w outside,     |G| beta = (N - 1) / (N - |G|)  sum_{i in G} infl(i, z)

in expectation: for a group of one example beta is infl itself, and groups add up the influences of their examples. The
sum is exact where every example is in the same share s of the runs: var_k(c) beta = s (1 - s) sum_{i in G} infl(i, z).

Runs that share a subset (`subsets.replicates`) are averaged first: n then counts subsets.

The p-value is two-sided, of Student's t with n - 2 degrees of freedom. It is exact for a normal c, whatever y is; c is
hypergeometric, which is close where |G| s (1 - s) is at least 2 or so, 8 examples at ratio 0.5. E. J. G. Pitman,
"Significance tests which may be applied to samples from any populations II", JRSS Supplement 1937. q-values are
Benjamini and Hochberg's over all groups and test examples (`analysis.influence.discoveries` has what that rests on).
"""

from collections.abc import Iterable, Iterator
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.influence.p_values import q_values
from analysis.influence.pair_options import DEFAULTS, PairOptions
from analysis.reading.bits import RatioBits
from analysis.statistics.run_means import student_quantile
from workers.common.arrays import Floats, Integers
from workers.errors import EstimateError, TooManyPairsError

Affected = Literal["example", "class", "all"]
"""Whose correctness is looked at: each test example's, the mean of each class of test examples, or of all."""

_KEYS = ("ratio", "group", "size")
_VALUES = ("infl", "se", "low", "high", "per_example", "per_example_se", "runs", "p_value", "q_value")
_BLOCK_VALUES = 1 << 23
"""Values float64 of test examples and runs that are held at a time."""


def group_influence(
    bits: RatioBits, groups: npt.ArrayLike, *, on: Affected = "example", options: PairOptions = DEFAULTS
) -> pd.DataFrame:
    """One row per group and test example (test class; the test set), groups ascending.

    `groups` are N numbers, NaN for an example of none. Columns: ratio, group, size; test_example_id and test_label, or
    test_label and test_examples (a class and its number), or test_examples; infl with se, low and high; per_example and
    per_example_se; runs, p_value, q_value. Values are NaN where a group's number is the same in all runs. Raises
    EstimateError for groups of another length, none at all, under 3 runs, and an unknown `on`; TooManyPairsError for
    more than `options.max_pairs` rows.
    """
    if on not in get_args(Affected):
        raise EstimateError(f"on must be one of {', '.join(get_args(Affected))}, got {on!r}")
    starts = np.arange(bits.runs) if bits.groups is None else np.unique(bits.groups, return_index=True)[1]
    if len(starts) < 3:
        raise EstimateError(f"influence of groups needs at least 3 runs that did not diverge, got {len(starts)}")
    codes, members = _members(groups, bits.labels.num_train)
    subsets = bits.subsets.of_runs(starts)
    counts = np.stack([subsets.of_examples(ids).unpacked().sum(axis=1) for ids in members]).astype(np.float64)
    columns = _affected_columns(bits, on)
    width = len(next(iter(columns.values())))
    if len(codes) * width > options.max_pairs:
        raise TooManyPairsError(
            f"more than {options.max_pairs:,} pairs: on must be class or all, or groups fewer, "
            f"got {len(codes):,} groups and {width:,} test examples"
        )
    sizes = np.diff([*starts, bits.runs])[:, None]
    outcomes = (np.add.reduceat(outcome, starts) / sizes for outcome in _outcomes(bits, on))
    beta, se = (np.concatenate(parts, axis=1) for parts in zip(*_regressions(outcomes, counts), strict=True))
    frame = _frame(np.array([len(ids) for ids in members]), beta, se, len(starts), options.confidence)
    keys: dict[str, Any] = {"ratio": bits.ratio, "group": np.repeat(codes, width)}
    keys |= {name: np.tile(values, len(codes)) for name, values in columns.items()}
    return frame.assign(**keys)[[*_KEYS, *columns, *_VALUES]]


def _members(groups: npt.ArrayLike, num_train: int) -> tuple[npt.NDArray[Any], list[Integers]]:
    """The groups' numbers, ascending, as int64 where they are whole; and the examples of each."""
    values = np.asarray(groups, dtype=np.float64)
    if values.shape != (num_train,):
        raise EstimateError(f"groups must be {num_train:,} numbers, one for each training example, got {values.shape}")
    codes = np.unique(values[~np.isnan(values)])
    if not len(codes):
        raise EstimateError("groups must have at least one number that is not NaN, got none")
    whole = (codes == np.floor(codes)).all() and np.abs(codes).max() < 2**53
    return codes.astype(np.int64) if whole else codes, [np.flatnonzero(values == code) for code in codes]


def _affected_columns(bits: RatioBits, on: Affected) -> dict[str, npt.NDArray[np.int64]]:
    """What names each column of `_outcomes`."""
    labels = bits.labels.test_label
    if on == "example":
        return {"test_example_id": np.arange(len(labels)), "test_label": labels}
    if on == "all":
        return {"test_examples": np.array([len(labels)])}
    classes, sizes = np.unique(labels, return_counts=True)
    return {"test_label": classes, "test_examples": sizes}


def _outcomes(bits: RatioBits, on: Affected) -> Iterator[Floats]:
    """y, float64[runs, some]: correctness of test examples block by block, or its mean over classes or all."""
    num_test = len(bits.labels.test_label)
    if on != "example":
        labels = bits.labels.test_label if on == "class" else np.zeros(num_test, dtype=np.int64)
        for label in np.unique(labels).tolist():
            of_class = bits.test_correct.of_examples(np.flatnonzero(labels == label))
            yield of_class.unpacked().mean(axis=1, keepdims=True)
        return
    step = max(1, _BLOCK_VALUES // bits.runs)
    for start in range(0, num_test, step):
        yield bits.test_correct.of_examples(np.arange(start, min(num_test, start + step))).unpacked().astype(np.float64)


def _regressions(outcomes: Iterable[Floats], counts: Floats) -> Iterator[tuple[Floats, Floats]]:
    """beta and its standard error, float64[groups, some], of outcomes [runs, some] on counts float64[groups, runs]."""
    centred = counts - counts.mean(axis=1, keepdims=True)
    squares = (centred**2).sum(axis=1)[:, None]
    squares[squares == 0] = np.nan
    degrees = counts.shape[1] - 2
    for outcome in outcomes:
        deviations = outcome - outcome.mean(axis=0)
        products = centred @ deviations
        beta = products / squares
        residual = np.maximum((deviations**2).sum(axis=0) - beta * products, 0.0)
        yield beta, np.sqrt(residual / degrees / squares)


def _frame(sizes: Integers, beta: Floats, se: Floats, runs: int, confidence: float) -> pd.DataFrame:
    from scipy.special import stdtr  # here: a third of a second to import

    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(beta == 0, 0.0, beta / se)
    p_value = np.where(np.isnan(beta), np.nan, 2 * stdtr(runs - 2, -np.abs(t))).ravel()
    known = np.isfinite(p_value)
    q_value = np.full(p_value.shape, np.nan)
    q_value[known] = q_values(p_value[known], int(known.sum()))
    size = sizes[:, None]
    infl, reach = size * beta, float(student_quantile(confidence, runs - 2)) * size * se
    columns = {"infl": infl, "se": size * se, "low": infl - reach, "high": infl + reach}
    columns |= {"per_example": beta, "per_example_se": se, "size": np.broadcast_to(size, beta.shape)}
    flat = {name: values.ravel() for name, values in columns.items()}
    return pd.DataFrame(flat).assign(runs=runs, p_value=p_value, q_value=q_value)
