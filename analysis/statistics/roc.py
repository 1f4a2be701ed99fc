"""ROC curves of hundreds of millions of scores: both kinds are sorted once, and counted above thresholds.

A threshold selects the scores at or above it. Its true-positive rate (recall) is the share of positives selected, its
false-positive rate that of negatives. The area under the curve is P(positive > negative) + P(equal) / 2.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workers.common.arrays import Bools, Floats, Integers

_CHUNK = 1 << 22
_POINTS = 400


@dataclass(frozen=True)
class RocCurve:
    """Scores of positives and of negatives, each ascending."""

    positives: npt.NDArray[np.floating]
    negatives: npt.NDArray[np.floating]

    @classmethod
    def of(cls, score: npt.NDArray[np.floating], positive: Bools) -> "RocCurve":
        """Of finite scores [n], of which `positive` should be high."""
        return cls(np.sort(score[positive]), np.sort(score[~positive]))

    def selected(self, thresholds: npt.NDArray[np.floating]) -> tuple[Integers, Integers]:
        """How many positives and negatives each threshold selects."""
        kinds = (self.positives, self.negatives)
        true, false = (len(scores) - np.searchsorted(scores, thresholds, "left") for scores in kinds)
        return true, false

    @property
    def area(self) -> float:
        """The area under the curve; NaN where there are no positives or no negatives."""
        twice = 0
        for start in range(0, len(self.positives), _CHUNK):
            scores = self.positives[start : start + _CHUNK]
            twice += sum(int(np.searchsorted(self.negatives, scores, side).sum()) for side in ("left", "right"))
        pairs = len(self.positives) * len(self.negatives)
        return twice / 2 / pairs if pairs else math.nan

    @property
    def balanced_accuracy(self) -> float:
        """The largest mean of true-positive rate and true-negative rate over all thresholds, at least 1/2."""
        if not (len(self.positives) and len(self.negatives)):
            return math.nan
        best = 0.0
        for start in range(0, len(self.positives), _CHUNK):
            scores = self.positives[start : start + _CHUNK]
            # Of equal scores the first selects them all, so the others lie below it.
            true = 1 - np.arange(start, start + len(scores)) / len(self.positives)
            false = 1 - np.searchsorted(self.negatives, scores, "left") / len(self.negatives)
            best = max(best, float((true - false).max()))
        return (1 + best) / 2

    def threshold_at(self, false_rate: float) -> float:
        """The lowest threshold with at most this false-positive rate.

        NaN where none has: there are fewer than 1 / `false_rate` negatives, or so many of them tie for the highest
        score that every threshold that selects anything exceeds it.
        """
        allowed = self.allowed(false_rate)
        if not allowed or not len(self.positives):
            return math.nan
        if allowed >= len(self.negatives):
            return float(min(self.positives[0], self.negatives[0]))
        excluded = self.negatives[len(self.negatives) - allowed - 1]
        above = [scores[np.searchsorted(scores, excluded, "right") :] for scores in (self.positives, self.negatives)]
        return min((float(scores[0]) for scores in above if len(scores)), default=math.nan)

    def allowed(self, false_rate: float) -> int:
        """How many negatives a threshold may select at a false-positive rate; 0: the rate cannot be measured."""
        return math.floor(false_rate * len(self.negatives) * (1 + 1e-12))

    def true_rate(self, threshold: float) -> float:
        """The true-positive rate of a threshold; NaN for NaN."""
        if math.isnan(threshold):
            return math.nan
        return float(self.selected(np.array([threshold], self.positives.dtype))[0][0]) / len(self.positives)

    def points(self) -> dict[str, Floats]:
        """threshold, false_positive_rate and recall of a few hundred thresholds, from the highest one down.

        Evenly spread by the logarithm of the false-positive rate, and by rank among the positives.
        """
        wanted = []
        for scores in (self.negatives, self.positives):
            rank = np.concatenate([np.geomspace(1, len(scores), _POINTS), np.linspace(1, len(scores), _POINTS)])
            wanted.append(scores[len(scores) - np.rint(rank).astype(np.int64)])
        thresholds = np.unique(np.concatenate(wanted))[::-1]
        true, false = self.selected(thresholds)
        rates = {"false_positive_rate": false / len(self.negatives), "recall": true / len(self.positives)}
        return {"threshold": thresholds.astype(np.float64), **rates}
