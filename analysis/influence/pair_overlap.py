"""Overlap of the high-influence pairs of two groups of runs, counted class by class without keeping pairs.

The selection is Feldman and Zhang's, see `analysis.influence.high_influence`. A group of few runs selects a great many
pairs by chance, which is why they are compared in blocks of test examples.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.influence.pair_counter import FamilyBlock, PairCounts, count_pairs, min_counts_for_influence, test_blocks
from analysis.influence.pair_options import MEMORY_MB
from analysis.reading.bits import RatioBits
from analysis.reading.parallel import ParallelMap, Threads
from workers.common.arrays import Integers


@dataclass(frozen=True)
class Overlap:
    """Sizes of two sets and of their intersection."""

    first: int
    second: int
    both: int

    @property
    def selected(self) -> float:
        """Mean size of the two sets."""
        return (self.first + self.second) / 2

    @property
    def jaccard(self) -> float:
        """|A and B| / |A or B|; NaN where both are empty."""
        either = self.first + self.second - self.both
        return self.both / either if either else float("nan")


def overlap(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> Overlap:
    """Of two sets of examples, bool[N] each."""
    return Overlap(int(first.sum()), int(second.sum()), int((first & second).sum()))


def pair_overlap(
    halves: tuple[RatioBits, RatioBits],
    memorized: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]],
    min_infl: float,
    *,
    memory_mb: float = MEMORY_MB,
    spread: ParallelMap | None = None,
) -> Overlap:
    """Of the pairs of a training and a test example of one class that each half selects.

    A half selects those of its memorized examples (bool[N]) with infl >= min_infl among its own runs; without runs on
    both sides of an example there is no infl.
    """
    labels = halves[0].labels
    families: list[list[PairCounts]] = []
    blocks: list[FamilyBlock] = []
    for label in np.intersect1d(labels.given_label, labels.test_label):
        in_class = labels.given_label == label
        pair = [
            count_pairs(bits, np.flatnonzero(chosen & in_class), "nan")
            for bits, chosen in zip(halves, memorized, strict=True)
        ]
        tests = np.flatnonzero(labels.test_label == label)
        blocks += [FamilyBlock(len(families), block) for block in test_blocks(pair[0], tests, memory_mb)]
        families.append(pair)
    sizes = np.zeros(3, dtype=np.int64)
    for block_counts in (spread or Threads()).map(_in_block, (families, min_infl), blocks):
        sizes += block_counts
    return Overlap(*sizes.tolist())


def _in_block(shared: tuple[list[list[PairCounts]], float], block: FamilyBlock) -> tuple[int, int, int]:
    families, min_infl = shared
    first, second = (_selected(half, block.tests, min_infl) for half in families[block.family])
    return len(first), len(second), len(np.intersect1d(first, second, assume_unique=True))


def _selected(half: PairCounts, tests: Integers, min_infl: float) -> Integers:
    """The pairs, each as one number."""
    bars = min_counts_for_influence(half, half.bits.correct[tests], np.full(len(tests), min_infl))
    keys = [pairs.tests * half.bits.labels.num_train + pairs.examples for pairs in half.scan(tests, bars)]
    return np.concatenate([np.zeros(0, np.int64), *keys])
