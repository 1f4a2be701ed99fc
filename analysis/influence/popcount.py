"""Co-occurrence counts of packed bits, 64 runs at a time: an exact matrix product of 0/1 data.

Compiled by numba for many pairs; NumPy's for few, where numba takes longer to import than the counts take. Both count
the same ones.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from workers.common.arrays import Int32s, UInt64s

WIDE = 128
"""Examples of a tile: with 2000 runs its bits take 32 KB, a core's first cache."""

_FEW = 30_000_000
"""Words of pairs that NumPy counts in 0.1 s; numba takes a second to import and to load what it compiled."""


class PairKernels(NamedTuple):
    """The counts of ones that tests (uint64[tests, words]) share with examples (uint64[words, examples])."""

    shared_ones: Callable[[UInt64s, UInt64s, Int32s], None]
    """out[z, i] = ones that test z and example i share; `out` is int32[tests, examples]."""
    reaching: Callable[[UInt64s, UInt64s, Int32s, Int32s, tuple[int, int], Int32s], tuple[int, int]]
    """Find the pairs whose shared ones reach the bar of the test and of the example's group.

    `groups` (int32[examples]) ascend; `bars` is int32[tests, groups]. Looks at the examples of a
    span, without its end, while `hit_rows` (int32[3, room]: test, example, count) has room for WIDE x tests hits.
    Returns the example to go on with, and the number of hits.
    """
    number_reaching: Callable[[UInt64s, UInt64s, Int32s, Int32s], int]
    """How many pairs `reaching` would find among all examples."""


def pair_kernels(tests: int, examples: int, words: int) -> PairKernels:
    """What counts so many pairs in the least time."""
    if tests * examples * words <= _FEW:
        return PairKernels(_shared_ones, _reaching, _number_reaching)
    from analysis.influence import compiled_popcount

    return PairKernels(compiled_popcount.shared_ones, compiled_popcount.reaching, compiled_popcount.number_reaching)


def _shared_ones(tests: UInt64s, examples: UInt64s, out: Int32s) -> None:
    out[:] = 0
    for one, other in zip(tests.T, examples, strict=True):
        out += np.bitwise_count(one[:, None] & other)


def _reaching(
    tests: UInt64s, examples: UInt64s, groups: Int32s, bars: Int32s, span: tuple[int, int], hit_rows: Int32s
) -> tuple[int, int]:
    first, last = span
    stop = min(last, first + hit_rows.shape[1] // len(tests))
    counts = _counts(tests, examples[:, first:stop])
    rows, places = np.nonzero(counts >= bars[:, groups[first:stop]])
    hit_rows[:, : len(rows)] = rows, first + places, counts[rows, places]
    return stop, len(rows)


def _number_reaching(tests: UInt64s, examples: UInt64s, groups: Int32s, bars: Int32s) -> int:
    return sum(
        int((_counts(tests, examples[:, first : first + WIDE]) >= bars[:, groups[first : first + WIDE]]).sum())
        for first in range(0, examples.shape[1], WIDE)
    )


def _counts(tests: UInt64s, examples: UInt64s) -> Int32s:
    counts = np.empty((len(tests), examples.shape[1]), np.int32)
    _shared_ones(tests, examples, counts)
    return counts
