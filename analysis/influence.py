"""Influence: how much more often a test example is predicted right by models that trained on a training example.

    infl(i, z) = mean_{k in A_i} c_k(z) - mean_{k in B_i} c_k(z)
    SE(i, z)   = sqrt(p_A (1 - p_A) / |A_i| + p_B (1 - p_B) / |B_i|)

with A_i the runs whose subset holds training example i, B_i the others, c_k(z) whether run k predicts the label of test
example z. V. Feldman and C. Zhang, "What neural networks memorize and why: discovering the long tail via influence
estimation", NeurIPS 2020. In the paper an empty group's mean is 1/2.

No estimate depends on the tiles in which the pairs are computed: counts are exact, ties go to the smaller example id.
"""

from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.bits import RatioBits
from analysis.errors import EstimateError, TooManyPairsError
from analysis.means import Empty, Floats, difference_se, group_mean
from analysis.tiles import Ids, Pairs, Tile, tile_rows

COLUMNS = (
    *("ratio", "test_example_id", "test_label", "example_id", "label", "given_label"),
    *("infl", "se", "n_in", "p_in", "n_out", "p_out"),
)
TOP_COLUMNS = (*COLUMNS[:2], "rank", *COLUMNS[2:])

MEMORY_MB = 512.0
MAX_PAIRS = 10_000_000


def influence_top(
    bits: RatioBits, *, top: int = 5, empty: Empty = "half", memory_mb: float = MEMORY_MB
) -> pd.DataFrame:
    """The `top` most influential training examples of each test example, with TOP_COLUMNS; `rank` from 1.

    Sorted by test example, then rank; of equal influences the smaller example id comes first. With empty="nan" pairs
    without a value are left out. Raises EstimateError for a `top` under 1, an unknown `empty`, a bad `memory_mb`.
    """
    if top < 1:
        raise EstimateError(f"top must be at least 1, got {top!r}")
    found = []
    for tests, tiles in tile_rows(bits, _all_tests(bits), _all_examples(bits), empty, memory_mb):
        best = Pairs.join([])
        bars = np.full(len(tests), -np.inf)
        for tile in tiles:
            best, bars = _merge(best, tile, bars, top)
        found.append(best)
    pairs = Pairs.join(found)
    frame = pairs_frame(bits, pairs, empty).assign(rank=_ranks(pairs) + 1)
    return frame[list(TOP_COLUMNS)]


def influence_pairs(
    bits: RatioBits,
    *,
    threshold: float = 0.15,
    empty: Empty = "half",
    memory_mb: float = MEMORY_MB,
    max_pairs: int = MAX_PAIRS,
) -> pd.DataFrame:
    """Every pair with infl >= threshold, with COLUMNS, sorted by test example, then infl descending, then example id.

    Raises TooManyPairsError where more than `max_pairs` reach the threshold, EstimateError for options without sense.
    """
    pairs = pairs_above(bits, _all_examples(bits), threshold, empty, memory_mb, max_pairs)
    return pairs_frame(bits, pairs, empty)


def influence_matrix(
    bits: RatioBits,
    tests: slice | npt.ArrayLike = slice(None),
    *,
    empty: Empty = "half",
    memory_mb: float = MEMORY_MB,
) -> npt.NDArray[np.float32]:
    """infl as float32[len(tests), N], one row per selected test example (a slice, ids, or a mask of length T).

    The result takes 4 N bytes a row beside `memory_mb`. Raises IndexError for an id outside 0..T-1.
    """
    chosen = _selected_tests(bits, tests)
    matrix = np.empty((len(chosen), bits.labels.num_train), dtype=np.float32)
    row = 0
    for block, tiles in tile_rows(bits, chosen, _all_examples(bits), empty, memory_mb):
        for tile in tiles:
            matrix[row : row + len(block), tile.examples[0] : tile.examples[-1] + 1] = tile.influence()
        row += len(block)
    return matrix


def pairs_above(
    bits: RatioBits, examples: Ids, threshold: float, empty: Empty, memory_mb: float, max_pairs: int
) -> Pairs:
    """The ranked pairs of these training examples (ascending ids) with infl >= threshold. Raises as above."""
    if not isfinite(threshold):
        raise EstimateError(f"threshold must be a finite number, got {threshold!r}")
    found: list[Pairs] = []
    count = 0
    for tests, tiles in tile_rows(bits, _all_tests(bits), examples, empty, memory_mb):
        in_block = []
        for tile in tiles:
            in_block.append(tile.at_least(np.full(len(tests), threshold)))
            count += len(in_block[-1])
            if count > max_pairs:
                raise TooManyPairsError(
                    f"more than {max_pairs:,} pairs at ratio {bits.ratio} reach the threshold: "
                    f"raise it, or train more runs, got {threshold!r} with {bits.runs} runs"
                )
        found.append(Pairs.join(in_block).ranked())
    return Pairs.join(found)


def pairs_frame(bits: RatioBits, pairs: Pairs, empty: Empty) -> pd.DataFrame:
    """One row per pair, in their order, with COLUMNS."""
    n_in, n_out = bits.n_in[pairs.examples], bits.n_out[pairs.examples]
    p_in = group_mean(pairs.correct_in, n_in, empty)
    p_out = group_mean(bits.correct[pairs.tests] - pairs.correct_in, n_out, empty)
    columns: dict[str, Any] = {
        "ratio": np.full(len(pairs), bits.ratio),
        "test_example_id": pairs.tests,
        "test_label": bits.labels.test_label[pairs.tests],
        "example_id": pairs.examples,
        "label": bits.labels.label[pairs.examples],
        "given_label": bits.labels.given_label[pairs.examples],
        "infl": pairs.infl,
        "se": difference_se(p_in, n_in, p_out, n_out),
        "n_in": n_in,
        "p_in": p_in,
        "n_out": n_out,
        "p_out": p_out,
    }
    return pd.DataFrame(columns)


def _merge(best: Pairs, tile: Tile, bars: Floats, top: int) -> tuple[Pairs, Floats]:
    """The best `top` pairs of each test example so far, and the influence that each next one must have."""
    joined = Pairs.join([best, tile.at_least(bars)]).ranked()
    ranks = _ranks(joined)
    best = joined.take(ranks < top)
    last = joined.take(ranks == top - 1)
    # Later tiles hold larger ids, which lose ties: they must be strictly above the last of the best.
    bars = bars.copy()
    bars[np.searchsorted(tile.tests, last.tests)] = np.nextafter(last.infl, np.inf)
    return best, bars


def _ranks(pairs: Pairs) -> Ids:
    """int64, from 0: the place of each of the ranked pairs among those of its test example."""
    return np.arange(len(pairs)) - np.searchsorted(pairs.tests, pairs.tests)


def _selected_tests(bits: RatioBits, tests: slice | npt.ArrayLike) -> Ids:
    if isinstance(tests, slice):
        return _all_tests(bits)[tests]
    ids = np.atleast_1d(np.asarray(tests))
    # NumPy makes an empty list float64, which is no index.
    return _all_tests(bits)[ids] if ids.size else _all_tests(bits)[:0]


def _all_tests(bits: RatioBits) -> Ids:
    return np.arange(bits.labels.num_test, dtype=np.int64)


def _all_examples(bits: RatioBits) -> Ids:
    return np.arange(bits.labels.num_train, dtype=np.int64)
