"""Detection metrics of a score: ROC AUC, average precision, precision at k.

The AUC is the probability that a positive example has a higher score than a negative one, ties counting one half. With
R_i the rank (mid-rank of ties) of positive i among all, r_i its rank among the positives, and likewise for negatives,

    V_i = (R_i - r_i) / n_neg       W_j = 1 - (R_j - r_j) / n_pos       AUC = mean_i V_i
    SE^2 = var(V) / n_pos + var(W) / n_neg

E. R. DeLong, D. M. DeLong and D. L. Clarke-Pearson, "Comparing the areas under two or more correlated receiver
operating characteristic curves: a nonparametric approach", Biometrics 1988; by ranks, X. Sun and W. Xu, "Fast
implementation of DeLong's algorithm", IEEE Signal Processing Letters 2014. The standard error is over examples.

The interval is Newcombe's: all a with (AUC - a)^2 <= z^2 a (1 - a) (1 + m ((1 - a) / (2 - a) + a / (1 + a))) / (n_pos
n_neg), m = (n_pos + n_neg) / 2 - 1. R. G. Newcombe, "Confidence intervals for an effect size measure based on the
Mann-Whitney statistic. Part 2", Statistics in Medicine 2006, method 5. Unlike AUC +- z SE it stays within [0, 1], and
does not shrink to a point where a score separates all: DeLong's standard error is 0 there. (Of 1,500 draws of 20
normal positives and 200 negatives with a true AUC of 0.995, 95% intervals held it in 99%, AUC +- z SE in 70%.)
"""

import numpy as np
import numpy.typing as npt

from analysis.statistics.intervals import CONFIDENCE, Interval, normal_quantile
from analysis.statistics.roc import RocCurve
from workers.common.arrays import Bools, Floats, Integers

_JUST_UNDER_1 = 1 - 1e-12
_HALVINGS = 60
_PIECES = 200
_PIECES_OF_START = 50


def area_under_curve(score: Floats, positive: Bools) -> tuple[float, float]:
    """(AUC, its standard error) of finite scores float64[n] of which `positive` should be high.

    NaN where all or no examples are positive; the standard error is NaN with fewer than two of either kind.
    """
    areas, errors = areas_under_curves(score[:, None], positive[:, None])
    return float(areas[0]), float(errors[0])


def areas_under_curves(score: Floats, positive: Bools) -> tuple[Floats, Floats]:
    """`area_under_curve` of each column: two arrays float64[b] of finite scores float64[n, b]."""
    from scipy.stats import rankdata

    n_pos = positive.sum(axis=0)
    n_neg = len(positive) - n_pos
    ranks = rankdata(score, axis=0)
    shares, variances = [], []
    for chosen, count, others in ((positive, n_pos, n_neg), (~positive, n_neg, n_pos)):
        # Behind all chosen ones the others leave their ranks as they are among themselves.
        own = rankdata(np.where(chosen, score, np.inf), axis=0)
        below = np.where(chosen, (ranks - own) / np.maximum(others, 1), 0.0)
        mean = below.sum(axis=0) / np.maximum(count, 1)
        squares = np.where(chosen, (below - mean) ** 2, 0.0).sum(axis=0)
        shares.append(np.where((count > 0) & (others > 0), mean, np.nan))
        variances.append(np.where(count > 1, squares, np.nan) / np.maximum(count - 1, 1) / np.maximum(count, 1))
    return shares[0], np.sqrt(np.where(np.isnan(shares[0]), np.nan, variances[0] + variances[1]))


def area_interval(auc: float, n_pos: int, n_neg: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Limits of an AUC; (0, 1) where it is NaN. Raises EstimateError for a bad `confidence`."""
    low, high = area_intervals(np.array([auc]), np.array([n_pos]), np.array([n_neg]), confidence)
    return float(low[0]), float(high[0])


def area_intervals(auc: Floats, n_pos: Integers, n_neg: Integers, confidence: float = CONFIDENCE) -> Interval:
    """`area_interval`, elementwise."""
    z = normal_quantile(confidence)
    known = (n_pos > 0) & (n_neg > 0)
    value, of_pos, of_neg = (np.where(known, each, 1) for each in (auc, n_pos, n_neg))
    low, high = _lower_limits(value, of_pos, of_neg, z), 1 - _lower_limits(1 - value, of_pos, of_neg, z)
    return np.where(known, low, 0.0), np.where(known, high, 1.0)


def _lower_limits(auc: Floats, n_pos: Integers, n_neg: Integers, z: float) -> Floats:
    """By bisection between 0, which lies outside the interval or is its limit, and the AUC, which lies inside."""
    outside, inside = np.zeros_like(auc, dtype=np.float64), np.minimum(auc, _JUST_UNDER_1).astype(np.float64)
    for _ in range(_HALVINGS):
        a = (outside + inside) / 2
        spread = 1 + ((n_pos + n_neg) / 2 - 1) * ((1 - a) / (2 - a) + a / (1 + a))
        is_outside = (auc - a) ** 2 > z**2 * a * (1 - a) * spread / (n_pos * n_neg)
        outside, inside = np.where(is_outside, a, outside), np.where(is_outside, inside, a)
    return np.minimum(inside, auc)


def average_precision(score: Floats, positive: Bools) -> float:
    """sum_t (recall_t - recall_{t-1}) precision_t over the distinct scores; NaN where no example is positive."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(positive, score)) if positive.any() else float("nan")


def precision_at(score: Floats, positive: Bools, k: int) -> float:
    """Share of positives among the k highest scores; of ties at the border, their expected share. NaN for k = 0."""
    if k == 0:
        return float("nan")
    border = np.partition(score, len(score) - k)[len(score) - k]
    above, tied = score > border, score == border
    places = k - above.sum()
    return float((positive[above].sum() + places * positive[tied].mean()) / k)


def curve_points(score: Floats, positive: Bools) -> dict[str, npt.NDArray[np.number]]:
    """Points of the ROC and precision-recall curves, from the highest threshold down, thinned to a few hundred.

    `threshold` selects the `selected` examples with score >= threshold, of which `precision` are positive: `recall` of
    all positives, and `false_positive_rate` of all negatives. Kept are the first and last, and no gap is wider than
    0.01 of false-positive rate and recall together, unless ties make it so. Needs positives and negatives.
    """
    curve, threshold = RocCurve.of(score, positive), np.unique(score)[::-1]
    n_pos, n_neg = _sizes(positive)
    true, false = curve.selected(threshold)
    recall, false_rate, selected = true / n_pos, false / n_neg, true + false
    along = np.searchsorted(false_rate + recall, np.linspace(0, 2, _PIECES + 1))
    # Precision changes fastest where few are selected.
    start = np.searchsorted(selected, np.geomspace(1, n_pos + n_neg, _PIECES_OF_START))
    indices = np.unique(np.concatenate([[0], along, start]).clip(max=len(selected) - 1))
    points = {"threshold": threshold, "selected": selected, "recall": recall, "false_positive_rate": false_rate}
    points["precision"] = recall * n_pos / selected
    return {name: values[indices] for name, values in points.items()}


def _sizes(positive: Bools) -> tuple[int, int]:
    return int(positive.sum()), int((~positive).sum())
