"""Random halves of a ratio's runs (of its subsets, where runs share them), and the sufficient statistics of each.

The runs stay packed, one bit per run and example, so that a half is a mask and counting is AND and a count of ones.
"""

from dataclasses import dataclass, replace

import numpy as np

from analysis.reading.bits import PackedBits, RatioBits, pack_bits, pack_columns, ratio_bits
from analysis.reading.counts import RatioCounts
from analysis.reading.examples import Labels
from workers.common.arrays import Integers
from workers.store import Store


@dataclass(frozen=True)
class PackedRatio:
    """The runs of one ratio that did not diverge: `bits` as influence takes them, `train_correct` [runs, N]."""

    bits: RatioBits
    train_correct: PackedBits

    @property
    def unit_of_run(self) -> Integers:
        """int64[runs], from 0 and ascending: the number of each run's subset where runs share subsets, else its own."""
        if self.bits.groups is None:
            return np.arange(self.bits.runs)
        return np.unique(self.bits.groups, return_inverse=True)[1]

    @property
    def units(self) -> int:
        """The independent units that are split: subsets where runs share them, else runs."""
        return int(self.unit_of_run[-1]) + 1 if self.bits.runs else 0

    def rows_of(self, units: Integers) -> Integers:
        """The places of the runs of some units, ascending."""
        return np.flatnonzero(np.isin(self.unit_of_run, units))


def pack_ratio(store: Store, labels: Labels, ratio_ppm: int, epoch: int | None = None) -> PackedRatio:
    """The runs of a ratio (parts per million), read once: runs x (2 N + T) / 8 bytes. Raises as `pack_columns`."""
    packed = pack_columns(store, ("subset", "train_correct", "test_correct"), ratio_ppm, epoch)
    subsets, test_correct = packed.columns["subset"], packed.columns["test_correct"]
    bits = ratio_bits(ratio_ppm, packed.epoch, packed.diverged, labels, subsets, test_correct)
    return PackedRatio(replace(bits, groups=packed.groups), packed.columns["train_correct"])


def draw_halves(seed: int, ratio_ppm: int, runs: int, used: int, split: int) -> tuple[Integers, Integers]:
    """Two disjoint random sets of used // 2 of a ratio's runs each, as their places in 0..runs-1, ascending.

    Each (seed, ratio, used, split) has its own random stream, so nothing else that is drawn changes them.
    """
    drawn = np.random.default_rng([seed, ratio_ppm, used, split]).permutation(runs)
    half = used // 2
    return np.sort(drawn[:half]), np.sort(drawn[half : 2 * half])


def count_half(packed: PackedRatio, rows: Integers) -> RatioCounts:
    """The sums over some of the runs: what `count_runs` would give for a store of these alone."""
    bits = packed.bits
    member = np.zeros((bits.runs, 1), dtype=bool)
    member[rows] = True
    n_in, correct_in, correct = np.zeros((3, bits.labels.num_train), dtype=np.int64)
    words = zip(pack_bits(member).words[:, 0], bits.subsets.words, packed.train_correct.words, strict=True)
    for mask, subsets, train_correct in words:
        if mask:  # a small half has no run in most words
            inside, right = subsets & mask, train_correct & mask
            n_in += np.bitwise_count(inside)
            correct_in += np.bitwise_count(inside & right)
            correct += np.bitwise_count(right)
    return RatioCounts(
        ratio_ppm=bits.ratio_ppm,
        runs=len(rows),
        diverged=bits.diverged,
        epoch=bits.epoch,
        n_in=n_in,
        correct_in=correct_in,
        n_out=len(rows) - n_in,
        correct_out=correct - correct_in,
    )
