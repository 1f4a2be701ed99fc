"""Counts of runs that trained on a training example and predict a test example correctly, for every such pair.

That count is all that influence needs, since B_i has the rest of z's total. A pair is selected by an integer bar that
depends on z's total and on |A_i| alone, while the pair is counted: no matrix is ever held.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.influence.pairs import Pairs
from analysis.influence.popcount import WIDE, PairKernels, pair_kernels
from analysis.reading.bits import RatioBits
from analysis.statistics.means import Empty, empty_mean, mean_difference
from workers.common.arrays import Floats, Int32s, Integers
from workers.errors import EstimateError

UNREACHABLE = np.int32(2**31 - 1)
"""A bar that no count reaches."""

_MAX_TESTS = 256
"""More tests at a time do not pay: a tile's bits are read often enough."""
_HIT_TILES = 4
"""Tiles full of hits that there is room for."""


@dataclass(frozen=True)
class PairCounts:
    """A ratio's runs, ready for counting pairs with some training examples.

    The examples are sorted by |A_i|, then id; `words` are theirs, and `group` (int32, ascending) tells which of the
    distinct |A_i|, `sizes` (int64[groups]), each has. `empty` is what a group without runs counts as.
    """

    bits: RatioBits
    empty: Empty
    examples: Integers
    words: npt.NDArray[np.uint64]
    group: npt.NDArray[np.int32]
    sizes: Integers

    @property
    def kernels(self) -> PairKernels:
        """What counts these pairs with all test examples."""
        return pair_kernels(self.bits.labels.num_test, len(self.examples), len(self.words))

    def influence(self, correct_in: npt.NDArray[np.integer], n_in: Integers, total: Integers) -> Floats:
        """infl of pairs from their counts, float64, rounded once, elementwise under broadcasting."""
        return mean_difference(correct_in, n_in, total - correct_in, self.bits.runs - n_in, self.empty)

    def test_words(self, tests: Integers) -> npt.NDArray[np.uint64]:
        """uint64[len(tests), words]: which runs are right on each."""
        return np.ascontiguousarray(self.bits.test_correct.words[:, tests].T)

    def matrix(self, tests: Integers) -> npt.NDArray[np.float32]:
        """infl as float32[len(tests), len(examples)], rounded from float64; examples in ascending id."""
        counts = np.empty((len(tests), len(self.examples)), np.int32)
        if counts.size:
            self.kernels.shared_ones(self.test_words(tests), self.words, counts)
        infl = self.influence(counts, self.bits.n_in[self.examples], self.bits.correct[tests, None])
        matrix = np.empty(infl.shape, np.float32)
        matrix[:, np.argsort(np.argsort(self.examples))] = infl
        return matrix

    def scan(self, tests: Integers, bars: Int32s, first: int = 0, last: int | None = None) -> Iterator[Pairs]:
        """All pairs whose count reaches the bar (int32[len(tests), groups]), many at a time, in no order.

        Without those of a training example with itself. Of the sorted examples first..last-1, all by default.
        """
        last = len(self.examples) if last is None else min(last, len(self.examples))
        words = self.test_words(tests)
        room = np.empty((3, _HIT_TILES * WIDE * len(tests)), np.int32)
        while first < last and len(tests):
            first, hits = self.kernels.reaching(words, self.words, self.group, bars, (first, last), room)
            z, i, correct_in = (column.astype(np.int64) for column in room[:, :hits])
            infl = self.influence(correct_in, self.sizes[self.group[i]], self.bits.correct[tests[z]])
            yield Pairs(tests[z], self.examples[i], correct_in, infl).between_different(self.bits)

    def number(self, tests: Integers, bars: Int32s) -> int:
        """How many pairs `scan` would find."""
        if not len(tests):
            return 0
        words = self.test_words(tests)
        return int(self.kernels.number_reaching(words, self.words, self.group, bars)) - self._with_itself(
            tests, words, bars
        )

    def _with_itself(self, tests: Integers, words: npt.NDArray[np.uint64], bars: Int32s) -> int:
        """How many training examples reach the bar with themselves, where training examples are affected."""
        if self.bits.affected != "train":
            return 0
        place_of = np.full(self.bits.labels.num_train, -1)
        place_of[self.examples] = np.arange(len(self.examples))
        rows = np.flatnonzero(place_of[tests] >= 0)
        places = place_of[tests[rows]]
        counts = np.bitwise_count(words[rows] & self.words[:, places].T).sum(axis=1, dtype=np.int64)
        return int((counts >= bars[rows, self.group[places]]).sum())


@dataclass(frozen=True)
class FamilyBlock:
    """Test examples, and the place among several families of the training examples that they are paired with."""

    family: int
    tests: Integers


def pair_families(bits: RatioBits, examples: Integers, same_class: bool) -> list[tuple[Integers, Integers]]:
    """(training examples, test examples), each of the first with each of the second: all, or class by class.

    A training example's class is its given label, the one that the models saw.
    """
    tests = np.arange(bits.labels.num_test, dtype=np.int64)
    if not same_class:
        return [(examples, tests)]
    given_label, test_label = bits.labels.given_label[examples], bits.labels.test_label
    return [
        (examples[given_label == label], tests[test_label == label])
        for label in np.intersect1d(given_label, test_label)
    ]


def count_pairs(bits: RatioBits, examples: Integers, empty: Empty) -> PairCounts:
    """Prepare the pairs of these training examples (ids).

    Raises EstimateError for an unknown `empty`, and for `zero` where bits count errors: no group of runs is then wrong.
    """
    empty_mean(empty)
    if empty == "zero" and bits.counts_errors:
        raise EstimateError("empty must be nan or half for harmful examples, got 'zero'")
    order = examples[np.lexsort((examples, bits.n_in[examples]))]
    sizes, group = np.unique(bits.n_in[order], return_inverse=True)
    words = bits.subsets.of_examples(order).words
    return PairCounts(bits, empty, order, words, group.astype(np.int32), sizes)


def test_blocks(counted: PairCounts, tests: Integers, memory_mb: float, pair_bytes: int = 0) -> list[Integers]:
    """Tests to be handled at one time, so that `memory_mb` (10^6 bytes) is enough; never less than one.

    `pair_bytes` are what a result holds for each pair. Raises EstimateError for a `memory_mb` that is not positive.
    """
    if not memory_mb > 0:
        raise EstimateError(f"memory_mb must be greater than 0, got {memory_mb!r}")
    bytes_per_test = 8 * len(counted.words) + 40 * len(counted.sizes) + 60 * _HIT_TILES * WIDE
    fitting = memory_mb * 1e6 / (bytes_per_test + pair_bytes * len(counted.examples))
    tall = int(max(1, min(_MAX_TESTS, fitting)))
    return [tests[start : start + tall] for start in range(0, len(tests), tall)]


def min_counts_for_influence(
    counted: PairCounts, total: Integers, least: Floats, *, above: npt.NDArray[np.bool_] | None = None
) -> Int32s:
    """int32[tests, groups]: the smallest count at which infl >= least[z]; UNREACHABLE where none does.

    `total` (int64[tests]) and `least` (float64[tests]) are the tests'. Where `above` (bool[tests, groups]) is set,
    infl > least[z].
    """
    n_in, total, least = counted.sizes[None, :], total[:, None], least[:, None]
    n_out = counted.bits.runs - n_in
    fewest, most = np.maximum(total - n_out, 0), np.minimum(n_in, total)
    # infl grows with the count. Where the real-valued solution lies, rounding can be off by one at most.
    both = (n_in > 0) & (n_out > 0)
    with np.errstate(invalid="ignore"):
        solution = (least + total / np.maximum(n_out, 1)) / (1 / np.maximum(n_in, 1) + 1 / np.maximum(n_out, 1))
    guess = np.where(both & np.isfinite(solution), np.clip(np.ceil(np.nan_to_num(solution)), fewest, most), fewest)
    bars = np.full(guess.shape, UNREACHABLE, np.int32)
    for off in (1, 0, -1):
        count = np.clip(guess.astype(np.int64) + off, fewest, most)
        infl = counted.influence(count, n_in, total)
        reached = infl >= least if above is None else np.where(above, infl > least, infl >= least)
        bars = np.where(reached, count.astype(np.int32), bars)
    return np.ascontiguousarray(bars)
