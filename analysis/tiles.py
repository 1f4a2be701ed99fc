"""Influence of all training on all test examples, tile by tile, in bounded memory.

One matrix product per tile counts in how many runs of A_i the test example z is right; B_i has the rest of z's total.
The product of zeros and ones in float32 is exact: a count is at most the number of runs at one ratio, 10^6 < 2^24.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

from analysis.bits import RatioBits
from analysis.errors import EstimateError
from analysis.means import Empty, Floats, empty_mean, group_mean

Ids = npt.NDArray[np.int64]

_PAIR_BYTES = 120
"""Most memory that the arrays behind one pair of a tile take at one time."""
_BIT_BYTES = 8
"""Most memory that one unpacked bit takes: four as a float, the rest while it is unpacked."""
_MOST_TESTS, _MOST_EXAMPLES = 4096, 512
"""Larger tiles are not faster: these keep the product's arrays near the processor's caches."""
_SLACK = 1e-6
"""More than float32 can be off: each mean is within 2 x 2^-24, their difference within 5 x 2^-24 < 3.0e-7."""


@dataclass(frozen=True)
class Pairs:
    """Selected pairs: int64 `tests` and `examples` (ids), int64 `correct_in`, float64 `infl`."""

    tests: Ids
    examples: Ids
    correct_in: Ids
    infl: Floats

    def __len__(self) -> int:
        return len(self.tests)

    def take(self, chosen: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> "Pairs":
        """The pairs at these positions, or where a mask is true."""
        return Pairs(self.tests[chosen], self.examples[chosen], self.correct_in[chosen], self.infl[chosen])

    def ranked(self) -> "Pairs":
        """By test example; then largest influence first; then smaller example id: one order, whatever the tiles."""
        return self.take(np.lexsort((self.examples, -self.infl, self.tests)))

    @classmethod
    def join(cls, parts: list["Pairs"]) -> "Pairs":
        """Pairs of several tiles."""
        none = cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
        columns = zip(
            *((each.tests, each.examples, each.correct_in, each.infl) for each in [none, *parts]), strict=True
        )
        return cls(*(np.concatenate(column) for column in columns))


@dataclass(frozen=True)
class Tile:
    """`correct_in`[z, i], float32 and whole: the runs that trained on examples[i] and are right on tests[z]."""

    bits: RatioBits
    empty: Empty
    tests: Ids
    examples: Ids
    correct_in: npt.NDArray[np.float32]

    def influence(self) -> npt.NDArray[np.float32]:
        """float32[z, i], rounded from float64."""
        total = self.bits.correct[self.tests, None]
        return _difference(self.bits, self.examples, self.correct_in, total, self.empty).astype(np.float32)

    def at_least(self, bars: Floats) -> Pairs:
        """The pairs with infl >= bars[z] (float64[z]), compared in float64; NaN is never among them."""
        # A float32 screen finds the few pairs that can reach the bar; only those are computed exactly.
        z, i = np.nonzero(self._screen() >= (bars - _SLACK).astype(np.float32)[:, None])
        tests, examples = self.tests[z], self.examples[i]
        correct_in = self.correct_in[z, i].astype(np.int64)
        infl = _difference(self.bits, examples, correct_in, self.bits.correct[tests], self.empty)
        return Pairs(tests, examples, correct_in, infl).take(infl >= bars[z])

    def _screen(self) -> npt.NDArray[np.float32]:
        n_in, n_out = self.bits.n_in[self.examples], self.bits.n_out[self.examples]
        total = self.bits.correct[self.tests].astype(np.float32)[:, None]
        p_out = total - self.correct_in
        p_out *= (1 / np.maximum(n_out, 1)).astype(np.float32)
        p_out[:, n_out == 0] = empty_mean(self.empty)
        p_in = self.correct_in * (1 / np.maximum(n_in, 1)).astype(np.float32)
        p_in[:, n_in == 0] = empty_mean(self.empty)
        p_in -= p_out
        return p_in


def tile_rows(
    bits: RatioBits, tests: Ids, examples: Ids, empty: Empty, memory_mb: float
) -> Iterator[tuple[Ids, Iterator[Tile]]]:
    """Blocks of test examples, each with its tiles over all `examples` in their order; one tile is alive at a time.

    A tile takes at most `memory_mb` megabytes (10^6 bytes), but is never smaller than one pair.
    Raises EstimateError for an unknown `empty` and a `memory_mb` that is not positive.
    """
    empty_mean(empty)
    if not memory_mb > 0:
        raise EstimateError(f"memory_mb must be greater than 0, got {memory_mb!r}")
    tall, wide = _tile_shape(bits.runs, memory_mb * 1e6)
    for start in range(0, len(tests), tall):
        block = tests[start : start + tall]
        yield block, _tiles(bits, block, examples, empty, wide)


def _tiles(bits: RatioBits, tests: Ids, examples: Ids, empty: Empty, wide: int) -> Iterator[Tile]:
    correct = bits.test_correct.columns(tests)
    for start in range(0, len(examples), wide):
        some = examples[start : start + wide]
        yield Tile(bits, empty, tests, some, correct.T @ bits.subsets.columns(some))


def _tile_shape(runs: int, budget: float) -> tuple[int, int]:
    """Test and training examples of a tile. A square one has side s: _PAIR_BYTES s^2 + 2 _BIT_BYTES runs s = budget."""
    column = _BIT_BYTES * runs
    side = (sqrt(column**2 + _PAIR_BYTES * budget) - column) / _PAIR_BYTES
    wide = max(1, min(_MOST_EXAMPLES, int(side)))
    tall = (budget - column * wide) / (column + _PAIR_BYTES * wide)
    return max(1, min(_MOST_TESTS, int(tall))), wide


def _difference(bits: RatioBits, examples: Ids, correct_in: npt.NDArray[np.number], total: Ids, empty: Empty) -> Floats:
    n_in, n_out = bits.n_in[examples], bits.n_out[examples]
    return group_mean(correct_in, n_in, empty) - group_mean(total - correct_in, n_out, empty)
