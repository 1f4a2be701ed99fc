"""Explicit subsets: a rule drops examples by their scores.

Of N examples floor(ratio x N) are kept, whatever the rule, so that runs of a ratio can be stacked. In ascending order
of the scores, `lowest` drops the first ones, `highest` the last, a window those from its quantile on; `random` drops as
many at random. Scores are often counts (hundreds of examples that were never forgotten), so equal ones stand in random
order, drawn anew for each run: runs of one rule then differ in which of these they drop.

Per class, each class is an order of its own, and keeps its part of the floor(ratio x N), by largest remainders.

A rule by threshold drops every example on one side of a score, `at_least` or `at_most`, that score included. Its ratio
is the one that leaves just the others, so that the random removal at this ratio drops as many. Ratios have six
decimals: of more than 1,000,000 examples, up to N / 1,000,000 more may be dropped, those next to the threshold.

Removal curves: M. Toneva et al., "An empirical study of example forgetting during deep neural network learning", ICLR
2019, figure 5 (least forgotten first, against random; a sliding window in figure 6); by threshold: V. Feldman and
C. Zhang, "What neural networks memorize and why", NeurIPS 2020, figure 2.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workers.campaign.campaign import PPM, Subsets
from workers.campaign.drop_rules import AtLeast, AtMost, HighestOf, Rule, ThresholdRule, Window, column_of
from workers.common.arrays import Floats, Integers
from workers.errors import CampaignError


@dataclass(frozen=True)
class ScoredExamples:
    """What rules go by: float64[N] `scores` by the name of their column, and int64[N] `given_labels`, the classes that
    the models see."""

    scores: Mapping[str, Floats]
    given_labels: Integers

    def scores_of(self, rule: Rule) -> Floats:
        """float64[N], the column that a rule other than `random` goes by."""
        return self.scores[column_of(rule)]


def scores_sha256(scores: Floats) -> str:
    """SHA-256 (hex) of float64[N] scores in canonical order: what a campaign's identity knows of them."""
    return hashlib.sha256(np.ascontiguousarray(scores, dtype="<f8").tobytes()).hexdigest()


def explicit_subset(
    random: np.random.Generator, rule: Rule, *, size: int, examples: ScoredExamples, per_class: bool
) -> npt.NDArray[np.bool_]:
    """bool[N], true at the `size` examples that the rule keeps. Ties are broken by `random`. O(N log N) time."""
    count = len(examples.given_labels)
    permutation = random.permutation(count)
    order = permutation
    if rule != "random":
        order = permutation[np.argsort(examples.scores_of(rule)[permutation], kind="stable")]
    subset = np.ones(count, dtype=bool)
    if not per_class:
        subset[_dropped(order, size, rule)] = False
        return subset
    labels = examples.given_labels[order]
    classes, counts = np.unique(labels, return_counts=True)
    for label, class_size in zip(classes, class_sizes(counts, size), strict=True):
        subset[_dropped(order[labels == label], int(class_size), rule)] = False
    return subset


def threshold_ratio_ppm(rule: ThresholdRule, scores: Floats) -> int:
    """The ratio, in parts per million, at which the rule drops just the examples on its side of the threshold.

    Of more than 1,000,000 examples where no ratio is that exact, the next lower one. 0: no example, or next to none,
    would be left.
    """
    dropped = scores <= rule.threshold if isinstance(rule, AtMost) else scores >= rule.threshold
    subset_size = len(scores) - int(dropped.sum())
    above = -(-subset_size * PPM // len(scores))
    return above if above * len(scores) // PPM == subset_size else subset_size * PPM // len(scores)


def threshold_ratios(subsets: Subsets, scores: Mapping[str, Floats]) -> tuple[float, ...]:
    """The ratio of each rule by threshold, in their order; `scores` float64[N] by the name of their column.

    Raises CampaignError where a threshold leaves no example, where two leave as many (their runs would have the same
    keys), and where the campaign has other ratios already.
    """
    ratios_ppm = [threshold_ratio_ppm(rule, scores[column_of(rule)]) for rule in subsets.thresholds]
    for place, (rule, ratio_ppm) in enumerate(zip(subsets.thresholds, ratios_ppm, strict=True)):
        if ratio_ppm == 0:
            own = scores[column_of(rule)]
            span = f"scores are from {own.min():g} to {own.max():g}"
            raise CampaignError(f"subsets.drop: {rule} leaves no training example: {span}")
        if ratio_ppm in ratios_ppm[:place]:
            other = subsets.thresholds[ratios_ppm.index(ratio_ppm)]
            count = len(scores[column_of(rule)])
            subset_text = f"{ratio_ppm * count // PPM:,} of {count:,} examples"
            raise CampaignError(
                f"subsets.drop: must leave different numbers of examples: {other} and {rule} leave {subset_text}"
            )
    ratios = tuple(ratio_ppm / PPM for ratio_ppm in ratios_ppm)
    if subsets.ratios not in ((), ratios):
        given_text, derived_text = (", ".join(f"{ratio:g}" for ratio in each) for each in (subsets.ratios, ratios))
        raise CampaignError(
            f"subsets.ratios: must be left out, or {derived_text}, which follow from the scores, got {given_text}"
        )
    return ratios


def class_sizes(counts: Integers, size: int) -> Integers:
    """int64[classes] that add up to `size`, in proportion to `counts`, by largest remainders; of equal ones the first.

    Exact: each is floor or ceil of size x count / N.
    """
    sizes, remainders = np.divmod(size * counts.astype(np.int64), counts.sum())
    left = size - int(sizes.sum())
    sizes[np.argsort(-remainders, kind="stable")[:left]] += 1
    return sizes


def _dropped(order: Integers, size: int, rule: Rule) -> Integers:
    """The examples of an ascending (or, for `random`, a random) order that the rule drops, all but `size`.

    For a rule by threshold `size` follows from the threshold.
    """
    if isinstance(rule, Window):
        start = round(rule.window * PPM) * len(order) // PPM
        # A window that starts at the ratio itself may be pushed over the end by rounding within a class.
        start = min(start, size)
    else:
        start = size if rule == "highest" or isinstance(rule, HighestOf | AtLeast) else 0
    return order[start : start + len(order) - size]
