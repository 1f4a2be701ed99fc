"""Standard errors of the influence of pairs, and the independent runs that their groups are worth.

Of runs with a subset each, SE^2 = p_A (1 - p_A) / |A| + p_B (1 - p_B) / |B|. Of runs that share subsets, each term is
the variance of the subsets' means: see `analysis.statistics.clustered_means`.
"""

from dataclasses import dataclass

import numpy as np

from analysis.influence.pairs import Pairs
from analysis.reading.bits import PackedBits, RatioBits
from analysis.statistics.clustered_means import ClusterSums, clustered_variance, effective_runs, sum_clusters
from analysis.statistics.intervals import CONFIDENCE
from analysis.statistics.means import difference_se, group_mean
from workers.common.arrays import Floats, Integers

_VALUES = 1 << 24
"""Runs times pairs that are unpacked at a time."""


@dataclass(frozen=True)
class PairErrors:
    """Of each pair float64[pairs]: `se`, NaN where a group is empty, and the effective runs of both groups."""

    se: Floats
    effective_in: Integers | Floats
    effective_out: Integers | Floats


def pair_errors(bits: RatioBits, pairs: Pairs, confidence: float) -> PairErrors:
    """The errors of some pairs of a ratio's runs; of right and of wrong predictions they are the same."""
    n_in, n_out = bits.n_in[pairs.examples], bits.n_out[pairs.examples]
    correct_in, correct_out = pairs.correct_in, bits.correct[pairs.tests] - pairs.correct_in
    if bits.groups is None:
        p_in, p_out = group_mean(correct_in, n_in, "nan"), group_mean(correct_out, n_out, "nan")
        return PairErrors(difference_se(p_in, n_in, p_out, n_out), n_in, n_out)
    inside, outside = _cluster_sums(bits, bits.groups, pairs)
    variance = clustered_variance(correct_in, n_in, inside) + clustered_variance(correct_out, n_out, outside)
    return PairErrors(
        np.sqrt(variance),
        effective_runs(correct_in, n_in, inside, confidence),
        effective_runs(correct_out, n_out, outside, confidence),
    )


def effective_test_runs(bits: RatioBits, confidence: float = CONFIDENCE) -> Integers | Floats:
    """The independent runs that the runs are worth in an interval of each test example's accuracy: [T]."""
    runs = np.full(bits.test_correct.width, bits.runs)
    if bits.groups is None:
        return runs
    correct, sizes = _by_cluster(bits.test_correct, bits.groups)
    sums = sum_clusters(correct, np.broadcast_to(sizes, correct.shape), np.ones(correct.shape, dtype=bool))
    return effective_runs(bits.correct, runs, sums, confidence)


def _cluster_sums(bits: RatioBits, groups: Integers, pairs: Pairs) -> tuple[ClusterSums, ClusterSums]:
    """Of the subsets with and without each pair's training example."""
    starts = _starts(groups)
    count = max(1, _VALUES // max(1, len(groups)))
    parts: tuple[list[ClusterSums], list[ClusterSums]] = ([], [])
    for first in range(0, max(1, len(pairs)), count):
        some = slice(first, first + count)
        subsets = bits.subsets.of_examples(pairs.examples[some]).unpacked(starts)
        correct, sizes = _by_cluster(bits.test_correct.of_examples(pairs.tests[some]), groups)
        for part, chosen in zip(parts, (subsets, ~subsets), strict=True):
            part.append(sum_clusters(correct, np.broadcast_to(sizes, correct.shape), chosen))
    inside, outside = (_joined(part) for part in parts)
    return inside, outside


def _starts(groups: Integers) -> Integers:
    """The first run of each group."""
    return np.flatnonzero(np.diff(groups, prepend=-1))


def _by_cluster(bits: PackedBits, groups: Integers) -> tuple[Integers, Integers]:
    """int64[G, width], runs of each group whose bit is set, and int64[G, 1], the group's runs."""
    starts = _starts(groups)
    right = bits.unpacked().astype(np.int64)
    correct = np.add.reduceat(right, starts, axis=0) if len(starts) else right
    return correct, np.diff(starts, append=len(groups))[:, None]


def _joined(parts: list[ClusterSums]) -> ClusterSums:
    names = ("clusters", "squares", "products", "sizes")
    return ClusterSums(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
