"""Influence: the difference in a test example's accuracy between runs with and runs without a training example.

    infl(i, z) = mean_{k in A_i} c_k(z) - mean_{k in B_i} c_k(z)
    SE(i, z)   = sqrt(p_A (1 - p_A) / |A_i| + p_B (1 - p_B) / |B_i|)

with A_i the runs whose subset holds training example i, B_i the others, c_k(z) whether run k predicts the label of test
example z. V. Feldman and C. Zhang, "What neural networks memorize and why: discovering the long tail via influence
estimation", NeurIPS 2020. In the paper an empty group's mean is 1/2, and so it is in the matrix; lists of pairs leave
out those that rest on one.

`low` and `high` are the limits of one pair's infl (analysis/statistics/intervals.py). They are not corrected for the
number of pairs; analysis/influence/discoveries.py selects pairs at a false discovery rate.

No estimate depends on the blocks in which the pairs are counted: counts are exact, ties go to the smaller example id.
"""

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.influence.pair_counter import (
    FamilyBlock,
    PairCounts,
    count_pairs,
    min_counts_for_influence,
    test_blocks,
)
from analysis.influence.pair_errors import pair_errors
from analysis.influence.pair_options import DEFAULTS, PairOptions
from analysis.influence.pairs import Pairs
from analysis.influence.top_pairs import top_of_block
from analysis.reading.bits import RatioBits
from analysis.statistics.intervals import difference_interval
from analysis.statistics.means import group_mean
from workers.campaign.plural import count_text
from workers.common.arrays import Integers
from workers.errors import EstimateError, TooManyPairsError

COLUMNS = (
    *("ratio", "test_example_id", "test_label", "example_id", "label", "given_label"),
    *("infl", "se", "low", "high", "n_in", "p_in", "n_out", "p_out"),
)
TOP_COLUMNS = (*COLUMNS[:2], "rank", *COLUMNS[2:])

_MATRIX_BYTES = 70
"""Most memory that a pair takes while its influence is computed: two copies on each core."""


def influence_top(
    bits: RatioBits,
    *,
    tests: slice | npt.ArrayLike = slice(None),
    top: int = 5,
    options: PairOptions = DEFAULTS,
) -> pd.DataFrame:
    """The `top` most influential training examples of each test example, with TOP_COLUMNS; `rank` from 1.

    `tests` chooses test examples: a slice, ids, or a mask of length T. Sorted by test example, then rank; of equal
    influences the smaller example id comes first. Of bits that count errors: the most harmful examples, whose infl is
    negative. Where bits are of training examples, these are in the columns affected_example_id and
    affected_given_label, and no example is paired with itself. Pairs that rest on an empty group are left out, unless
    `options.empty` gives them a value. Raises EstimateError for a `top` under 1 and for invalid options;
    IndexError for an id outside 0..T-1.
    """
    if top < 1:
        raise EstimateError(f"top must be at least 1, got {top!r}")
    every = count_pairs(bits, _all_examples(bits), options.empty_in_lists)
    blocks = test_blocks(every, np.unique(_selected_tests(bits, tests)), options.memory_mb)
    pairs = Pairs.join(list(options.blocks.map(top_of_block, (every, top), blocks)))
    frame = pairs_frame(bits, pairs, options).assign(rank=pairs.ranks() + 1)
    return of_affected(frame[list(TOP_COLUMNS)], bits)


def influence_pairs(
    bits: RatioBits,
    *,
    tests: slice | npt.ArrayLike = slice(None),
    threshold: float = 0.15,
    options: PairOptions = DEFAULTS,
) -> pd.DataFrame:
    """Every pair with infl >= threshold, with COLUMNS, sorted by test example, then infl descending, then example id.

    Of bits that count errors: every pair with infl <= -threshold, ascending.
    `tests` and empty groups as for `influence_top`. Raises TooManyPairsError where more than `options.max_pairs` reach
    the threshold, EstimateError for invalid options.
    """
    chosen = np.unique(_selected_tests(bits, tests))
    pairs = pairs_above(bits, [(_all_examples(bits), chosen)], threshold, options)
    return of_affected(pairs_frame(bits, pairs, options), bits)


def influence_matrix(
    bits: RatioBits,
    tests: slice | npt.ArrayLike = slice(None),
    *,
    options: PairOptions = DEFAULTS,
) -> npt.NDArray[np.float32]:
    """infl as float32[len(tests), N], one row per selected test example (a slice, ids, or a mask of length T).

    An empty group's mean is 1/2, as in the paper, unless `options.empty` is another. The result takes 4 N bytes a
    row beside `options.memory_mb`. Raises IndexError for an id outside 0..T-1.
    """
    chosen = _selected_tests(bits, tests)
    matrix = np.empty((len(chosen), bits.labels.num_train), dtype=np.float32)
    row = 0
    for rows in matrix_blocks(bits, chosen, options):
        matrix[row : row + len(rows)] = rows
        row += len(rows)
    return matrix


def matrix_blocks(bits: RatioBits, tests: Integers, options: PairOptions) -> Iterator[npt.NDArray[np.float32]]:
    """Rows of the influence matrix, float32[some tests, N] at a time, in the order of `tests`."""
    every = count_pairs(bits, _all_examples(bits), options.empty_in_matrix)
    return options.blocks.map(PairCounts.matrix, every, test_blocks(every, tests, options.memory_mb, _MATRIX_BYTES))


def pairs_above(
    bits: RatioBits,
    families: Sequence[tuple[Integers, Integers]],
    threshold: float,
    options: PairOptions,
) -> Pairs:
    """The ranked pairs with infl >= threshold of disjoint families: training examples and tests, ascending ids each.

    Raises as above.
    """
    if not isfinite(threshold):
        raise EstimateError(f"threshold must be a finite number, got {threshold!r}")
    every = [count_pairs(bits, examples, options.empty_in_lists) for examples, _ in families]
    blocks = [
        FamilyBlock(number, block)
        for number, (some, (_, tests)) in enumerate(zip(every, families, strict=True))
        for block in test_blocks(some, tests, options.memory_mb)
    ]
    block_pairs: list[Pairs] = []
    for pairs in options.blocks.map(_above_in_block, (every, threshold, options.max_pairs), blocks):
        block_pairs.append(pairs)
        if sum(map(len, block_pairs)) > options.max_pairs:
            raise TooManyPairsError(
                f"more than {count_text(options.max_pairs, 'pair')} at ratio {bits.ratio} reach the threshold: "
                f"raise it, or train more runs, got {threshold!r} with {count_text(bits.runs, 'run')}"
            )
    joined = Pairs.join(block_pairs)
    return joined if len(families) == 1 else joined.ranked()


def _above_in_block(shared: tuple[list[PairCounts], float, int], block: FamilyBlock) -> Pairs:
    """The ranked pairs of a block with infl >= threshold, or more than `max_pairs` of them."""
    families, threshold, max_pairs = shared
    some, tests = families[block.family], block.tests
    bars = min_counts_for_influence(some, some.bits.correct[tests], np.full(len(tests), threshold))
    scanned_pairs: list[Pairs] = []
    for pairs in some.scan(tests, bars):
        scanned_pairs.append(pairs)
        if sum(map(len, scanned_pairs)) > max_pairs:
            break
    return Pairs.join(scanned_pairs).ranked()


def pairs_frame(bits: RatioBits, pairs: Pairs, options: PairOptions = DEFAULTS) -> pd.DataFrame:
    """One row per pair, in their order, with COLUMNS; of correctness, also where `bits` count errors."""
    empty = options.empty_in_lists
    n_in, n_out = bits.n_in[pairs.examples], bits.n_out[pairs.examples]
    correct_in, correct_out = pairs.correct_in, bits.correct[pairs.tests] - pairs.correct_in
    if bits.counts_errors:
        correct_in, correct_out = n_in - correct_in, n_out - correct_out
    p_in, p_out = group_mean(correct_in, n_in, empty), group_mean(correct_out, n_out, empty)
    errors = pair_errors(bits, pairs, options.confidence)
    low, high = difference_interval(p_in, errors.effective_in, p_out, errors.effective_out, options.confidence)
    columns: dict[str, Any] = {
        "ratio": np.full(len(pairs), bits.ratio),
        "test_example_id": pairs.tests,
        "test_label": bits.labels.test_label[pairs.tests],
        "example_id": pairs.examples,
        "label": bits.labels.label[pairs.examples],
        "given_label": bits.labels.given_label[pairs.examples],
        "infl": 0.0 - pairs.infl if bits.counts_errors else pairs.infl,
        "se": errors.se,
        "low": low,
        "high": high,
        "n_in": n_in,
        "p_in": p_in,
        "n_out": n_out,
        "p_out": p_out,
    }
    return pd.DataFrame(columns)


def of_affected(frame: pd.DataFrame, bits: RatioBits) -> pd.DataFrame:
    """The frame with columns that say which examples are affected, where these are training examples."""
    names = {"test_example_id": "affected_example_id", "test_label": "affected_given_label"}
    return frame.rename(columns=names) if bits.affected == "train" else frame


def _selected_tests(bits: RatioBits, tests: slice | npt.ArrayLike) -> Integers:
    if isinstance(tests, slice):
        return _all_tests(bits)[tests]
    ids = np.atleast_1d(np.asarray(tests))
    # NumPy makes an empty list float64, which is no index.
    return _all_tests(bits)[ids] if ids.size else _all_tests(bits)[:0]


def _all_tests(bits: RatioBits) -> Integers:
    return np.arange(bits.labels.num_test, dtype=np.int64)


def _all_examples(bits: RatioBits) -> Integers:
    return np.arange(bits.labels.num_train, dtype=np.int64)
