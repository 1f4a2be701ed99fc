"""Influential pairs with a stated false discovery rate.

Every pair of a test and a training example is a test of "membership does not matter" (see
analysis/influence/p_values.py). Of m pairs with p-values p_(1) <= p_(2) <= ..., those up to the largest k with p_(k) <=
k q / m are discoveries: of them, at most a share q is false in expectation. Y. Benjamini and Y. Hochberg, "Controlling
the false discovery rate", JRSS B 57 (1995).

What that rests on. Each p-value is exact where runs are independent and a run's subset says nothing of its outcome on z
but through the example itself: uniform subsets, and balanced ones as long as no two examples' memberships are
correlated by much. Diverged runs are left out as if at random. The rate of the whole list holds for independent tests
and for tests of positive regression dependence (Y. Benjamini and D. Yekutieli, Annals of Statistics 29, 2001). Pairs of
one campaign share their runs and are neither: in simulated campaigns, runs of good and bad luck among them, the rate
stays under the one requested (`benchmarks.discovery_rate`), since counts are discrete. It is an average over campaigns:
in one of them the share may be larger.

A list over several ratios has one rate: all their pairs are tested together. A rate does not carry over to a part of a
list that was picked after looking.

The p-values are never held: with R(s) the number of those up to s, the discoveries are those up to the largest s with
s = q R(s) / m, which s <- q R(s) / m reaches from s = q downwards, counting once for each step.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis.influence.estimator import COLUMNS as INFLUENCE_COLUMNS
from analysis.influence.estimator import of_affected, pairs_frame
from analysis.influence.p_values import p_values, q_values, significant_counts
from analysis.influence.pair_counter import FamilyBlock, PairCounts, count_pairs, pair_families, test_blocks
from analysis.influence.pair_options import DEFAULTS, PairOptions
from analysis.influence.pairs import Pairs
from analysis.reading.bits import RatioBits
from workers.campaign.plural import count_text
from workers.common.arrays import Floats, Int32s, Integers
from workers.errors import EstimateError, SharedSubsetsError, TooManyPairsError

COLUMNS = (*INFLUENCE_COLUMNS, "p_value", "q_value")


def influence_discoveries(
    bits: RatioBits | Sequence[RatioBits],
    *,
    fdr: float = 0.05,
    same_class: bool = False,
    options: PairOptions = DEFAULTS,
) -> pd.DataFrame:
    """The pairs of positive influence at a false discovery rate of `fdr`, with COLUMNS, sorted as `influence_pairs`.

    Of bits that count errors, the pairs of negative influence (`RatioBits.of_directions`): with both, every pair is
    tested twice, once in each direction, in one list. `p_value` is exact and one-sided; `q_value` the smallest rate at
    which the pair would be a discovery. All N x T pairs are tested, or, with `same_class`, those alone whose test label
    is the training example's given label: a choice made before looking. Of several ratios' runs, all their pairs are
    tested together, and `fdr` is the rate of the one list, in the ratios' order. Raises EstimateError for an `fdr`
    outside (0, 1) and where no ratio is given, TooManyPairsError over `options.max_pairs`, SharedSubsetsError where
    runs share subsets. Pairs that rest on an empty group are never discoveries, whatever `options.empty` is.
    """
    if not 0 < fdr < 1:
        raise EstimateError(f"fdr must be between 0 and 1, got {fdr!r}")
    options = replace(options, empty="nan")
    ratios = [bits] if isinstance(bits, RatioBits) else list(bits)
    if not ratios:
        raise EstimateError("bits must be the runs of at least one ratio, got none")
    if any(ratio.groups is not None for ratio in ratios):
        raise SharedSubsetsError(
            "discoveries must be of runs with a subset each: under subsets.replicates the exact test does not hold"
        )
    families = [family for ratio in ratios for family in _families(ratio, same_class)]
    blocks = [
        FamilyBlock(number, tests)
        for number, (some, family_tests) in enumerate(families)
        for tests in test_blocks(some, family_tests, options.memory_mb)
    ]
    itself = sum(ratio.labels.num_train for ratio in ratios if ratio.affected == "train")
    tried = sum(len(some.examples) * len(tests) for some, tests in families) - itself
    every = [some for some, _ in families]
    level = _countable_level(every, blocks, tried, fdr, options)
    blocks_of_pairs = list(options.blocks.map(_significant, _with_bars(every, level), blocks)) if level else []
    of_ratio: list[list[Pairs]] = [[] for _ in ratios]
    places = {id(ratio): place for place, ratio in enumerate(ratios)}
    for block, pairs in zip(blocks, blocks_of_pairs, strict=level > 0):
        of_ratio[places[id(every[block.family].bits)]].append(pairs)
    joined = [Pairs.join(pairs) for pairs in of_ratio]
    values = [
        p_values(pairs, ratio.n_in[pairs.examples], ratio.correct[pairs.tests], ratio.runs)
        for ratio, pairs in zip(ratios, joined, strict=True)
    ]
    ends = np.cumsum([len(pairs) for pairs in joined])[:-1]
    pooled = q_values(np.concatenate(values), tried)
    # One that is `fdr` but for the rounding of p-values is `fdr`.
    adjusted = np.split(np.where(np.isclose(pooled, fdr, rtol=1e-9, atol=0), fdr, pooled), ends)
    frames = [
        _frame(ratio, pairs, of_ratio_values, of_ratio_adjusted, fdr, options)
        for ratio, pairs, of_ratio_values, of_ratio_adjusted in zip(ratios, joined, values, adjusted, strict=True)
    ]
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)


def _frame(
    bits: RatioBits, pairs: Pairs, values: Floats, adjusted: Floats, fdr: float, options: PairOptions
) -> pd.DataFrame:
    """One ratio's discoveries, sorted."""
    significant = adjusted <= fdr
    frame = pairs_frame(bits, pairs.take(significant), options).assign(
        p_value=values[significant], q_value=adjusted[significant]
    )
    order = np.lexsort((frame["example_id"], -frame["infl"], frame["test_example_id"]))
    return of_affected(frame.iloc[order].reset_index(drop=True)[list(COLUMNS)], bits)


def _families(bits: RatioBits, same_class: bool) -> list[tuple[PairCounts, Integers]]:
    """Training examples and the test examples that each of them is tested with."""
    families = pair_families(bits, np.arange(bits.labels.num_train), same_class)
    return [(count_pairs(bits, examples, "nan"), tests) for examples, tests in families]


def _countable_level(
    families: Sequence[PairCounts],
    blocks: Sequence[FamilyBlock],
    tried: int,
    fdr: float,
    options: PairOptions,
) -> float:
    """A level that no discovery's p-value is above, and that at most `max_pairs` pairs reach; 0: there are none."""
    level, reached = fdr, tried
    while True:
        before, reached = reached, sum(options.blocks.map(_count_significant, _with_bars(families, level), blocks))
        if reached <= options.max_pairs:
            return level if reached else 0.0
        if reached == before:
            raise TooManyPairsError(
                f"more than {count_text(options.max_pairs, 'pair')} are discoveries: "
                f"lower fdr, or raise max_pairs, got {fdr!r}"
            )
        level = fdr * reached / tried


def _with_bars(families: Sequence[PairCounts], level: float) -> list[tuple[PairCounts, Int32s]]:
    """What is counted in all blocks: the families, with the counts that are significant at a level."""
    return [(family, significant_counts(family, level)) for family in families]


def _count_significant(families: Sequence[tuple[PairCounts, Int32s]], block: FamilyBlock) -> int:
    counted, bars = families[block.family]
    return counted.number(block.tests, bars[counted.bits.correct[block.tests]])


def _significant(families: Sequence[tuple[PairCounts, Int32s]], block: FamilyBlock) -> Pairs:
    counted, bars = families[block.family]
    return Pairs.join(list(counted.scan(block.tests, bars[counted.bits.correct[block.tests]])))
