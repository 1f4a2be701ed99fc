"""The most influential training examples of each test example, selected while pairs are counted."""

from dataclasses import replace

import numpy as np

from analysis.influence.pair_counter import PairCounts, min_counts_for_influence
from analysis.influence.pairs import Pairs
from workers.common.arrays import Int32s, Integers

_FIRST, _GROWTH = 256, 4
"""Examples looked at before bars are set, and how much further each next look goes: later ones find ever less."""


def top_of_block(shared: tuple[PairCounts, int], tests: Integers) -> Pairs:
    """The ranked best pairs of each of these tests (ascending ids); NaN is never among them.

    `shared` is what is counted and how many are requested.
    """
    counted, top = shared
    total = counted.bits.correct[tests]
    # All runs agree on them: all examples tie, and every pair would be a candidate.
    constant = (total == 0) | (total == counted.bits.runs)
    best, start, end = Pairs.join([]), 0, _FIRST
    while start < len(counted.examples):
        bars = _bars(counted, tests[~constant], best, top)
        for pairs in counted.scan(tests[~constant], bars, start, end):
            best = _best([best, pairs], top)
        start, end = end, end * _GROWTH
    return Pairs.join([best, *_constant(counted, tests[constant], top)]).ranked()


def _best(parts: list[Pairs], top: int) -> Pairs:
    ranked = Pairs.join(parts).ranked()
    return ranked.take(ranked.ranks() < top)


def _bars(counted: PairCounts, tests: Integers, best: Pairs, top: int) -> Int32s:
    """What a count must reach to be among the `top` of each test, given the best so far."""
    last = best.take(best.ranks() == top - 1)
    rows = np.searchsorted(tests, last.tests)
    least = np.full(len(tests), -np.inf)
    least[rows] = last.infl
    # Examples of one group come in ascending id: those that follow the last of the best lose a tie with it.
    above = np.zeros((len(tests), len(counted.sizes)), dtype=bool)
    above[rows, np.searchsorted(counted.sizes, counted.bits.n_in[last.examples])] = True
    return min_counts_for_influence(counted, counted.bits.correct[tests], least, above=above)


def _constant(counted: PairCounts, tests: Integers, top: int) -> list[Pairs]:
    """The best pairs of tests that all runs get right, or all wrong: the same examples for each of them."""
    parts = []
    for total in np.unique(counted.bits.correct[tests]):
        some = tests[counted.bits.correct[tests] == total]
        n_in = counted.bits.n_in[counted.examples]
        correct_in = n_in if total else np.zeros_like(n_in)
        infl = counted.influence(correct_in, n_in, total)
        order = np.lexsort((counted.examples, -infl))
        order = order[~np.isnan(infl[order])][: top + 1]  # one may be the example itself
        ranked = Pairs(np.full(len(order), -1), counted.examples[order], correct_in[order], infl[order])
        all_alike = ranked.take(np.tile(np.arange(len(order)), len(some)))
        different = replace(all_alike, tests=np.repeat(some, len(order))).between_different(counted.bits)
        parts.append(different.take(different.ranks() < top))
    return parts
