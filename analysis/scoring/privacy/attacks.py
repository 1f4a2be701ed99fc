"""Scores of membership inference attacks: every run is the target once, and all other runs are its shadow models.

Nothing of the target is in what it is compared with: `analysis.statistics.leave_one_out`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from analysis.reading.run_outputs import RunOutputs, logit_confidence
from analysis.scoring.privacy.lira import PooledVariance, Variance, lira_scores
from analysis.scoring.privacy.rmia import Population
from analysis.statistics.leave_one_out import leave_one_out
from workers.common.arrays import Bools, Float32s, Floats

ATTACKS = ("lira_online", "lira_offline", "rmia_online", "rmia_offline", "threshold")
"""`threshold` is one threshold of the confidence for all examples: a small loss says member."""

MIN_SHADOWS = 2
"""Fewer shadow models that trained on an example, or that did not, leave it out of the attack."""

_VALUES = 1 << 19
"""Values of an array of a block of examples: 4 MB."""


@dataclass(frozen=True)
class AttackOptions:
    """How LiRA's variances are estimated, and RMIA's a."""

    variance: Variance
    offline_a: float


def attackable(members: Bools) -> Bools:
    """bool[K, N]: which examples each target is attacked with: those with two shadow models in and two out."""
    inside = members.sum(axis=0)
    shadows_in, shadows_out = inside - members, len(members) - inside - ~members
    known: Bools = (shadows_in >= MIN_SHADOWS) & (shadows_out >= MIN_SHADOWS)
    return known


def attack_scores(outputs: RunOutputs, options: AttackOptions) -> Iterator[tuple[str, Float32s]]:
    """Each of ATTACKS and its scores float32[K, N], high for members; of no meaning where `attackable` is false.

    Holds the scores of two attacks at a time, 8 bytes per run and example.
    """
    yield from _lira(outputs, options.variance).items()
    yield from _rmia(outputs, options.offline_a).items()
    yield "threshold", logit_confidence(outputs.train, outputs.signal).astype(np.float32)


def example_blocks(outputs: RunOutputs) -> Iterator[tuple[slice, Floats, Bools]]:
    """Some examples, the confidences float64[K, b] of all runs, and bool[K, b] which run trained on which example."""
    width = max(1, _VALUES // outputs.runs)
    for start in range(0, outputs.members.shape[1], width):
        block = slice(start, start + width)
        yield block, logit_confidence(outputs.train[:, block], outputs.signal), outputs.members[:, block]


def _lira(outputs: RunOutputs, variance: Variance) -> dict[str, Float32s]:
    pooled = PooledVariance(outputs.runs), PooledVariance(outputs.runs)
    if variance == "pooled":
        for _, confidence, members in example_blocks(outputs):
            pooled[0].add(leave_one_out(confidence, members))
            pooled[1].add(leave_one_out(confidence, ~members))
    scores = _empty(outputs, ATTACKS[:2])
    for block, confidence, members in example_blocks(outputs):
        inside, outside = leave_one_out(confidence, members), leave_one_out(confidence, ~members)
        of_example = inside.variance, outside.variance
        variances = (pooled[0].variance, pooled[1].variance) if variance == "pooled" else of_example
        for name, values in lira_scores(confidence, inside, outside, variances).items():
            scores[name][:, block] = values
    return scores


def _rmia(outputs: RunOutputs, offline_a: float) -> dict[str, Float32s]:
    scores = _empty(outputs, ATTACKS[2:4])
    population = Population(logit_confidence(outputs.test, outputs.signal), offline_a)
    for block, confidence, members in example_blocks(outputs):
        for name, values in population.scores(confidence, members).items():
            scores[name][:, block] = values
    return scores


def _empty(outputs: RunOutputs, names: tuple[str, ...]) -> dict[str, Float32s]:
    return {name: np.empty(outputs.members.shape, dtype=np.float32) for name in names}
