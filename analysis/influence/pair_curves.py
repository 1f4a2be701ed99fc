"""Selected pairs of two sets of runs over thresholds of influence: sizes, intersection, difference over the union.

Each side selects the pairs of its memorized examples with infl >= t among its own runs. Sums over pairs add up, so they
are taken class by class, some training examples and some tests at a time, and no pair is kept: for all runs of both
sides, without each group of runs of either (`analysis.influence.run_versions`), and for groups of training examples.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.influence.high_influence import PairSelection
from analysis.influence.pair_counter import PairCounts, count_pairs, min_counts_for_influence, test_blocks
from analysis.influence.pair_options import PairOptions
from analysis.influence.run_versions import RunVersions
from analysis.reading.bits import RatioBits
from analysis.statistics.means import mean_difference
from workers.common.arrays import Bools, Floats, Integers

N_A, N_B, N_BOTH, DIFFERENCE = range(4)
"""What is summed over pairs: those that a selects, b, both; and |infl_a - infl_b| over those that either does."""

EXAMPLE_GROUPS = 20
_EXAMPLES = 8192
"""Training examples at a time: their bits, once for each version of the runs, take 100 MB at 2,000 runs."""
_LOOKED_UP = 1 << 16
"""Pairs whose influence is looked up at a time."""


@dataclass(frozen=True)
class PairSums:
    """float64[..., thresholds, 4]: of all runs first, then without each group of a's runs, and of b's; by examples.

    `of_examples` has the sums of EXAMPLE_GROUPS random groups of training examples, with all runs.
    """

    whole: Floats
    without_a: Floats
    without_b: Floats
    of_examples: Floats


@dataclass(frozen=True)
class _Chunk:
    """Some training examples and a class's tests, numbered alike on both sides; the versions of each side's runs."""

    bits: tuple[list[RatioBits], list[RatioBits]]
    counts: tuple[list[PairCounts], list[PairCounts]]
    thresholds: Floats
    groups: Integers

    @property
    def num_train(self) -> int:
        return len(self.groups)


@dataclass(frozen=True)
class _Found:
    """Ascending keys of a version's pairs (test x examples + example), and their infl."""

    keys: Integers
    infl: Floats


def sum_pairs(
    sides: tuple[RunVersions, RunVersions], thresholds: Sequence[float], selection: PairSelection, options: PairOptions
) -> PairSums:
    """The sums of two sides whose examples are numbered alike; of `selection` the thresholds stand for `min_infl`.

    Training examples without a run on both sides of their subsets, in one of the two, are in no pair.
    """
    bars = np.asarray(thresholds, dtype=np.float64)
    combined = len(sides[0]) + len(sides[1]) - 1
    sums, of_examples = np.zeros((combined, len(bars), 4)), np.zeros((EXAMPLE_GROUPS, len(bars), 4))
    for chunk, tests in _chunks(sides, bars, selection):
        blocks = test_blocks(chunk.counts[0][0], tests, options.memory_mb)
        for block, by_group in options.blocks.map(_in_block, chunk, blocks):
            sums += block
            of_examples += by_group
    return PairSums(sums[0], sums[1 : len(sides[0])], sums[len(sides[0]) :], of_examples)


def _chunks(
    sides: tuple[RunVersions, RunVersions], thresholds: Floats, selection: PairSelection
) -> Iterator[tuple[_Chunk, Integers]]:
    labels = [side.bits.labels for side in sides]
    groups = np.random.default_rng(0).permutation(labels[0].num_train) % EXAMPLE_GROUPS
    test_labels = np.stack([each.test_label for each in labels], axis=1)
    classes: list[Integers | None] = [None]
    if selection.same_class:
        classes = list(np.unique(test_labels, axis=0))
    memorized = [selection.memorized(side.mem) for side in sides]
    for pair in classes:
        of_class = np.ones((2, labels[0].num_train), dtype=bool)
        tests = np.arange(len(test_labels))
        if pair is not None:
            of_class = np.array([each.given_label == label for each, label in zip(labels, pair, strict=True)])
            tests = np.flatnonzero((test_labels == pair).all(axis=1))
        chosen = [each & inside for each, inside in zip(memorized, of_class, strict=True)]
        candidates = np.flatnonzero(chosen[0].any(axis=0) | chosen[1].any(axis=0))
        for first in range(0, len(candidates), _EXAMPLES):
            some = candidates[first : first + _EXAMPLES]
            bits, counts = [], []
            for side, each in zip(sides, chosen, strict=True):
                versions = [side.bits.of_examples(some, tests).without_runs(outside) for outside in side.left_out]
                bits.append(versions)
                counts.append(
                    [
                        count_pairs(of, np.flatnonzero(mask[some]), "nan")
                        for of, mask in zip(versions, each, strict=True)
                    ]
                )
            yield _Chunk((bits[0], bits[1]), (counts[0], counts[1]), thresholds, groups[some]), np.arange(len(tests))


def _in_block(chunk: _Chunk, tests: Integers) -> tuple[Floats, Floats]:
    """float64[versions, thresholds, 4], as `PairSums` stacked; and by groups of examples with all runs."""
    found = [[_select(counts, tests, chunk) for counts in side] for side in chunk.counts]
    combined = [(0, 0), *((j, 0) for j in range(1, len(found[0]))), *((0, j) for j in range(1, len(found[1])))]
    sums = []
    for a, b in combined:
        marks, groups = _compare((found[0][a], found[1][b]), (chunk.bits[0][a], chunk.bits[1][b]), chunk)
        sums.append(marks.sum(axis=1))
        if (a, b) == (0, 0):
            by_group = [marks[:, groups == group].sum(axis=1) for group in range(EXAMPLE_GROUPS)]
    return np.array(sums), np.array(by_group)


def _select(counts: PairCounts, tests: Integers, chunk: _Chunk) -> _Found:
    """A version's pairs that reach the lowest threshold."""
    least = np.full(len(tests), chunk.thresholds.min())
    pairs = list(counts.scan(tests, min_counts_for_influence(counts, counts.bits.correct[tests], least)))
    keys = np.concatenate([np.zeros(0, np.int64), *(each.tests * chunk.num_train + each.examples for each in pairs)])
    infl = np.concatenate([np.zeros(0), *(each.infl for each in pairs)])
    order = np.argsort(keys)
    return _Found(keys[order], infl[order])


def _compare(found: tuple[_Found, _Found], bits: tuple[RatioBits, RatioBits], chunk: _Chunk) -> tuple[Floats, Integers]:
    """float64[thresholds, pairs, 4], the terms of the sums of the pairs that either side has, and each one's group."""
    keys = np.union1d(found[0].keys, found[1].keys)
    tests, examples = keys // chunk.num_train, keys % chunk.num_train
    valued = np.ones(len(keys), dtype=bool)
    for version in bits:
        valued &= ((version.n_in > 0) & (version.n_out > 0))[examples]
    keys, tests, examples = keys[valued], tests[valued], examples[valued]
    values, inside = [], []
    for side, of in zip(found, bits, strict=True):
        there = np.isin(keys, side.keys, assume_unique=True)
        infl = np.empty(len(keys))
        infl[there] = side.infl[np.searchsorted(side.keys, keys[there])]
        infl[~there] = _influence_of(of, tests[~there], examples[~there])
        values.append(infl)
        inside.append(there)
    terms = np.empty((len(chunk.thresholds), len(keys), 4))
    apart = np.abs(values[0] - values[1])
    for place, threshold in enumerate(chunk.thresholds):
        a, b = (there & (infl >= threshold) for there, infl in zip(inside, values, strict=True))
        _fill(terms[place], a, b, apart)
    return terms, chunk.groups[examples]


def _fill(terms: Floats, a: Bools, b: Bools, apart: Floats) -> None:
    terms[:, N_A], terms[:, N_B], terms[:, N_BOTH] = a, b, a & b
    terms[:, DIFFERENCE] = np.where(a | b, apart, 0.0)


def _influence_of(bits: RatioBits, tests: Integers, examples: Integers) -> Floats:
    """infl of pairs, float64, each counted by itself."""
    infl = np.empty(len(tests))
    for first in range(0, len(tests), _LOOKED_UP):
        z, i = tests[first : first + _LOOKED_UP], examples[first : first + _LOOKED_UP]
        shared = bits.subsets.words[:, i] & bits.test_correct.words[:, z]
        correct_in = np.bitwise_count(shared).sum(axis=0, dtype=np.int64)
        infl[first : first + len(z)] = mean_difference(
            correct_in, bits.n_in[i], bits.correct[z] - correct_in, bits.n_out[i], "nan"
        )
    return infl
