"""The counts of `popcount.py`, compiled by numba.

One AND, one count of ones and one sum take the place of 64 multiplications and additions, or of 512 on a processor
with wide vectors, about four times what its 8-bit integer product reaches (benchmarks/RESULTS.md).
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit, types
from numba.extending import intrinsic

from analysis.influence.popcount import WIDE
from workers.common.arrays import Int32s, UInt64s
from workers.common.numba_jit import compiled


@intrinsic  # type: ignore[untyped-decorator]
def _ones(typing: Any, word: Any) -> Any:
    """The number of ones in a uint64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@compiled
def _tile(examples: UInt64s, first: int, tile: UInt64s) -> Any:
    """Copy the examples from `first` on into uint64[words, WIDE]; returns how many there are."""
    wide = min(WIDE, examples.shape[1] - first)
    for word in range(examples.shape[0]):
        for i in range(wide):
            tile[word, i] = examples[word, first + i]
    return wide


@njit(inline="always")  # type: ignore[untyped-decorator]
def _count(one: UInt64s, other: UInt64s, tile: UInt64s, counts: npt.NDArray[np.uint64]) -> None:
    """counts[0, i] and counts[1, i]: ones that two tests (uint64[words]) share with each example of a tile.

    Two tests at a time, and four words: so a word of the tile is read once for both, and a sum once for four.
    """
    counts[:] = 0
    first, second = counts[0], counts[1]
    words = len(one)
    unrolled = words - words % 4
    for word in range(0, unrolled, 4):
        p0, p1, p2, p3 = one[word], one[word + 1], one[word + 2], one[word + 3]
        q0, q1, q2, q3 = other[word], other[word + 1], other[word + 2], other[word + 3]
        t0, t1, t2, t3 = tile[word], tile[word + 1], tile[word + 2], tile[word + 3]
        for i in range(WIDE):
            x0, x1, x2, x3 = t0[i], t1[i], t2[i], t3[i]
            first[i] += _ones(x0 & p0) + _ones(x1 & p1) + _ones(x2 & p2) + _ones(x3 & p3)
            second[i] += _ones(x0 & q0) + _ones(x1 & q1) + _ones(x2 & q2) + _ones(x3 & q3)
    for word in range(unrolled, words):
        p, q, row = one[word], other[word], tile[word]
        for i in range(WIDE):
            first[i] += _ones(row[i] & p)
            second[i] += _ones(row[i] & q)


@compiled
def shared_ones(tests: UInt64s, examples: UInt64s, out: Int32s) -> None:
    """out[z, i] = ones that uint64[tests, words] and uint64[words, examples] share: int32[tests, examples]."""
    tile = np.zeros((examples.shape[0], WIDE), np.uint64)
    counts = np.empty((2, WIDE), np.uint64)
    for first in range(0, examples.shape[1], WIDE):
        wide = _tile(examples, first, tile)
        for z in range(0, len(tests), 2):
            other = min(z + 1, len(tests) - 1)
            _count(tests[z], tests[other], tile, counts)
            for i in range(wide):
                out[z, first + i] = counts[0, i]
                out[other, first + i] = counts[other - z, i]


@compiled
def reaching(
    tests: UInt64s, examples: UInt64s, groups: Int32s, bars: Int32s, span: tuple[int, int], hit_rows: Int32s
) -> tuple[int, int]:
    """Find the pairs that reach their bar, a tile at a time: see `PairKernels`."""
    first, last = span
    tile = np.zeros((examples.shape[0], WIDE), np.uint64)
    counts = np.empty((2, WIDE), np.uint64)
    hits = 0
    while first < last and hits + WIDE * len(tests) <= hit_rows.shape[1]:
        wide = min(_tile(examples, first, tile), last - first)
        for z in range(0, len(tests), 2):
            other = min(z + 1, len(tests) - 1)
            _count(tests[z], tests[other], tile, counts)
            for row in range(1 + other - z):
                bar = bars[z + row, groups[first] : groups[first + wide - 1] + 1]
                lowest = np.uint64(bar.min())
                near = 0
                for i in range(wide):
                    near += counts[row, i] >= lowest
                if near:
                    for i in range(wide):
                        if counts[row, i] >= np.uint64(bars[z + row, groups[first + i]]):
                            hit_rows[0, hits], hit_rows[1, hits] = z + row, first + i
                            hit_rows[2, hits] = counts[row, i]
                            hits += 1
        first += wide
    return first, hits


@compiled
def number_reaching(tests: UInt64s, examples: UInt64s, groups: Int32s, bars: Int32s) -> Any:
    """How many pairs `reaching` would find among all examples."""
    tile = np.zeros((examples.shape[0], WIDE), np.uint64)
    counts = np.empty((2, WIDE), np.uint64)
    hits = 0
    for first in range(0, examples.shape[1], WIDE):
        wide = _tile(examples, first, tile)
        for z in range(0, len(tests), 2):
            other = min(z + 1, len(tests) - 1)
            _count(tests[z], tests[other], tile, counts)
            for row in range(1 + other - z):
                for i in range(wide):
                    hits += counts[row, i] >= np.uint64(bars[z + row, groups[first + i]])
    return hits
