"""Simulated runs: subsets and test correctness from a planted model, packed as they are generated.

Each training example is in a run's subset with probability 0.7. A test example is predicted right with a probability of
its own, most of them nearly always, some hardly ever. Planted pairs are the exception: with its training example in the
subset, such a test example is right with probability 0.9, without it with 0.5, so that infl = 0.4.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.reading.bits import WORD, PackedBits, RatioBits, pack_bits, ratio_bits
from analysis.reading.examples import Labels

RATIO_PARTS = 700_000
EFFECT = 0.4

_P_OUT = 0.5
_DIGITS = 20
"""Binary digits of the probability 0.7 that are kept: it is 0.7 to a millionth."""
_TESTS_AT_ONCE = 1000


@dataclass(frozen=True)
class Planted:
    """Runs, and the planted pairs: int64 `tests` (distinct) and `examples`."""

    bits: RatioBits
    tests: npt.NDArray[np.int64]
    examples: npt.NDArray[np.int64]


def plant(examples: int, tests: int, runs: int, pairs: int, seed: int = 0) -> Planted:
    """Make runs of `examples` training and `tests` test examples, with so many planted pairs (at most `tests`)."""
    random = np.random.default_rng(seed)
    subsets = _subsets(random, examples, runs)
    where = random.permutation(tests)[:pairs]
    which = random.integers(0, examples, size=len(where))
    words = []
    for start in range(0, tests, _TESTS_AT_ONCE):
        block = np.arange(start, min(tests, start + _TESTS_AT_ONCE))
        chance = np.repeat((1 - random.beta(0.3, 6, size=len(block)))[None], runs, axis=0)
        mine = np.flatnonzero(np.isin(where, block))
        trained = subsets.of_examples(which[mine]).unpacked()
        chance[:, where[mine] - start] = _P_OUT + EFFECT * trained
        words.append(pack_bits(random.random(chance.shape) < chance).words)
    correct = PackedBits(np.concatenate(words, axis=1), runs)
    labels = Labels(np.zeros(examples, np.int64), np.zeros(examples, np.int64), np.zeros(tests, np.int64))
    return Planted(ratio_bits(RATIO_PARTS, 1, 0, labels, subsets, correct), where, which)


def _subsets(random: np.random.Generator, examples: int, runs: int) -> PackedBits:
    words = np.empty((-(-runs // WORD), examples), np.uint64)
    chance = round(RATIO_PARTS / 1e6 * 2**_DIGITS)
    for row in words:
        row[:] = 0
        # From the last binary digit on: OR with random bits where it is 1 halves the distance to 1, AND that to 0.
        for digit in range(_DIGITS):
            noise = random.integers(0, 2**64, size=examples, dtype=np.uint64)
            row[:] = row | noise if chance >> digit & 1 else row & noise
    if runs % WORD:
        words[-1] &= np.uint64((1 << runs % WORD) - 1)
    return PackedBits(words, runs)
