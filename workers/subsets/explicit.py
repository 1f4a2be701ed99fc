"""Explicit subsets: a rule drops examples by their scores.

Of N examples floor(ratio x N) are kept, whatever the rule, so that runs of a ratio can be stacked. In ascending order
of the scores, `lowest` drops the first ones, `highest` the last, a window those from its quantile on; `random` drops as
many at random. Scores are often counts (hundreds of examples that were never forgotten), so equal ones stand in random
order, drawn anew for each run: runs of one rule then differ in which of these they drop.

Per class, each class is an order of its own, and keeps its part of the floor(ratio x N), by largest remainders.

Removal curves: M. Toneva et al., "An empirical study of example forgetting during deep neural network learning", ICLR
2019, figure 5 (least forgotten first, against random; a sliding window in figure 6).
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workers.campaign.campaign import PPM, Rule, Window
from workers.common.arrays import Floats, Integers


@dataclass(frozen=True)
class ScoredExamples:
    """What rules go by: float64[N] `scores`, and int64[N] `given_labels`, the classes that the models see."""

    scores: Floats
    given_labels: Integers


def scores_sha256(scores: Floats) -> str:
    """SHA-256 (hex) of float64[N] scores in canonical order: what a campaign's identity knows of them."""
    return hashlib.sha256(np.ascontiguousarray(scores, dtype="<f8").tobytes()).hexdigest()


def explicit_subset(
    random: np.random.Generator, rule: Rule, *, size: int, examples: ScoredExamples, per_class: bool
) -> npt.NDArray[np.bool_]:
    """bool[N], true at the `size` examples that the rule keeps. Ties are broken by `random`. O(N log N) time."""
    count = len(examples.scores)
    permutation = random.permutation(count)
    order = permutation
    if rule != "random":
        order = permutation[np.argsort(examples.scores[permutation], kind="stable")]
    subset = np.ones(count, dtype=bool)
    if not per_class:
        subset[_dropped(order, size, rule)] = False
        return subset
    labels = examples.given_labels[order]
    classes, counts = np.unique(labels, return_counts=True)
    for label, kept in zip(classes, class_sizes(counts, size), strict=True):
        subset[_dropped(order[labels == label], int(kept), rule)] = False
    return subset


def class_sizes(counts: Integers, size: int) -> Integers:
    """int64[classes] that add up to `size`, in proportion to `counts`, by largest remainders; of equal ones the first.

    Exact: each is floor or ceil of size x count / N.
    """
    kept, remainders = np.divmod(size * counts.astype(np.int64), counts.sum())
    left = size - int(kept.sum())
    kept[np.argsort(-remainders, kind="stable")[:left]] += 1
    return kept


def _dropped(order: Integers, kept: int, rule: Rule) -> Integers:
    """The examples of an ascending (or, for `random`, a random) order that the rule drops, all but `kept`."""
    if isinstance(rule, Window):
        start = round(rule.window * PPM) * len(order) // PPM
        # A window that starts at the ratio itself may be pushed over the end by rounding within a class.
        start = min(start, kept)
    else:
        start = kept if rule == "highest" else 0
    return order[start : start + len(order) - kept]
