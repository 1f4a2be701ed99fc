"""Influence on an output (margin, loss, probability) of test examples, in place of their correctness.

    infl(i, z) = mean_{k in A_i} m_k(z) - mean_{k in B_i} m_k(z)      SE^2 = s_A^2 / |A_i| + s_B^2 / |B_i|

with m_k(z) the output of run k for test example z, A_i the runs that trained on example i and B_i the others: V.
Feldman and C. Zhang's influence with another measure of success, in its own unit, with Welch's t interval. Sums are
matrix products over the runs, in float64, for a block of test examples at a time; their last bits depend on the block.
Runs that share a subset (`subsets.replicates`) are averaged first: n_in and n_out then count subsets.
"""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.influence.pair_options import DEFAULTS, PairOptions
from analysis.reading.outputs import RatioOutputs
from analysis.statistics.run_means import satterthwaite_interval
from workers.common.arrays import Bools, Floats, Integers
from workers.errors import EstimateError, TooManyPairsError

COLUMNS = (
    *("ratio", "test_example_id", "test_label", "example_id", "label", "given_label"),
    *("infl", "se", "low", "high", "n_in", "mean_in", "n_out", "mean_out"),
)
TOP_COLUMNS = (*COLUMNS[:2], "rank", *COLUMNS[2:])

_PAIR_BYTES = 72
"""Memory that a pair of a block takes: sums, means, errors, and temporaries."""


def output_influence_top(source: RatioOutputs, *, top: int = 5, options: PairOptions = DEFAULTS) -> pd.DataFrame:
    """The `top` training examples of largest infl of each test example of `source`, with TOP_COLUMNS; `rank` from 1.

    Pairs with a group of fewer than two runs are left out; of equal values the smaller example id comes first. Raises
    EstimateError for a `top` under 1.
    """
    if top < 1:
        raise EstimateError(f"top must be at least 1, got {top!r}")

    def highest(infl: Floats) -> Bools:
        chosen = np.zeros(infl.shape, dtype=bool)
        order = np.argsort(-np.where(np.isnan(infl), -np.inf, infl), axis=1, kind="stable")[:, :top]
        np.put_along_axis(chosen, order, True, axis=1)
        return chosen & ~np.isnan(infl)

    frame = _select(source, highest, options)
    ranks = frame.groupby("test_example_id").cumcount() + 1
    return frame.assign(rank=ranks)[list(TOP_COLUMNS)]


def output_influence_pairs(source: RatioOutputs, *, threshold: float, options: PairOptions = DEFAULTS) -> pd.DataFrame:
    """Every pair with infl >= threshold, with COLUMNS, sorted by test example, then infl descending, then example id.

    Pairs with a group of fewer than two runs are left out. Raises TooManyPairsError where more than
    `options.max_pairs` reach the threshold, EstimateError for a threshold that is no finite number.
    """
    if not np.isfinite(threshold):
        raise EstimateError(f"threshold must be a finite number, got {threshold!r}")
    return _select(source, lambda infl: infl >= threshold, options)


def _select(source: RatioOutputs, choose: Callable[[Floats], Bools], options: PairOptions) -> pd.DataFrame:
    """The pairs that `choose` picks from infl [tests, N] (NaN: too few runs), ranked within each test example."""
    source = source.of_subsets()
    n_in = source.subsets.sum(axis=0, dtype=np.int64)
    runs = np.array([n_in, source.runs - n_in])
    frames, num_pairs = [_frame(source, np.zeros(0, np.int64), np.zeros((6, 0)), runs, np.zeros(0, np.int64))], 0
    for start, means, errors in _blocks(source, runs, options.memory_mb):
        infl = means[0] - means[1]
        tests, examples = np.nonzero(choose(infl))
        num_pairs += len(tests)
        if num_pairs > options.max_pairs:
            raise TooManyPairsError(
                f"more than {options.max_pairs:,} pairs are selected: raise the threshold, or allow more (max_pairs)"
            )
        values = infl[tests, examples]
        low, high = satterthwaite_interval(values, errors[:, tests, examples], runs[:, examples], options.confidence)
        se = np.sqrt((errors[:, tests, examples] ** 2).sum(axis=0))
        columns = np.array([values, se, low, high, *means[:, tests, examples]])
        order = np.lexsort((examples, -values, tests))
        frames.append(_frame(source, tests[order] + start, columns[:, order], runs, examples[order]))
    return pd.concat(frames, ignore_index=True)


def _blocks(
    source: RatioOutputs, runs: npt.NDArray[np.int64], memory_mb: float
) -> Iterator[tuple[int, Floats, Floats]]:
    """(first test, means [2, tests, N], standard errors [2, tests, N]) of runs with and without each example.

    NaN where a group has fewer than two runs. Deviations are from each test example's mean over all runs, so that the
    squares do not cancel.
    """
    inside = source.subsets.astype(np.float64)
    count = max(1, int(memory_mb * 1e6 / (_PAIR_BYTES * max(1, inside.shape[1]))))
    enough = np.where(runs > 1, runs, np.nan)[:, None]
    for start in range(0, len(source.tests), count):
        outputs = source.outputs[:, start : start + count].astype(np.float64)
        centre = outputs.mean(axis=0) if len(outputs) else np.zeros(outputs.shape[1])
        deviations = outputs - centre
        sums_in, squares_in = deviations.T @ inside, (deviations**2).T @ inside
        sums = np.array([sums_in, deviations.sum(axis=0)[:, None] - sums_in])
        squares = np.array([squares_in, (deviations**2).sum(axis=0)[:, None] - squares_in])
        means = sums / enough
        variances = np.maximum(squares / enough - means**2, 0.0) / (enough - 1)
        yield start, means + centre[:, None], np.sqrt(variances)


def _frame(
    source: RatioOutputs, tests: Integers, columns: Floats, runs: npt.NDArray[np.int64], examples: Integers
) -> pd.DataFrame:
    """Pairs of places in `source.tests` and example ids; `columns` are infl, se, low, high, mean_in, mean_out."""
    labels = source.labels
    ids = source.tests[tests]
    values = dict(zip(("infl", "se", "low", "high", "mean_in", "mean_out"), columns, strict=True))
    frame = pd.DataFrame(
        {
            "ratio": np.full(len(ids), source.ratio),
            "test_example_id": ids,
            "test_label": labels.test_label[ids],
            "example_id": examples,
            "label": labels.label[examples],
            "given_label": labels.given_label[examples],
            "n_in": runs[0, examples],
            "n_out": runs[1, examples],
            **values,
        }
    )
    return frame[list(COLUMNS)]
