"""Consistency profile and C-score: how often an example is predicted right by models that did not train on it.

    profile(i, r) = mean_{k at ratio r, i not in S_k} c_k(i)        SE = sqrt(p (1 - p) / n)
    C-score(i)    = mean_r profile(i, r)                            SE = sqrt(sum_r SE_r^2) / number of ratios

Z. Jiang, C. Zhang, K. Talwar and M. C. Mozer, "Characterizing structural regularities of labeled data in
overparameterized models", ICML 2021. The mean over the ratios is unweighted. An example that no run held out at r has
no value at r, and does not count as 0: a 0 would make it the least regular example there is. At ratio 1 nothing is ever
held out, so that ratio is left out. `low` and `high` are Wilson's interval of a profile, and what follows from
these for the C-score (analysis/intervals.py).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.counts import RatioCounts, StoreCounts
from analysis.intervals import CONFIDENCE, wilson
from analysis.means import Floats, group_mean, mean_se
from workers.campaign import PARTS

PROFILE_COLUMNS = ("ratio", "example_id", "label", "given_label", "consistency", "se", "low", "high", "n_out")
CSCORE_COLUMNS = ("example_id", "label", "given_label", "cscore", "se", "low", "high", "n_ratios", "n_out")


def consistency_profile(counts: StoreCounts, *, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """One row per ratio under 1 and example, with PROFILE_COLUMNS; consistency and se are NaN where n_out is 0.

    There the interval is from 0 to 1. Raises EstimateError for a `confidence` outside (0, 1).
    """
    frames = [_at_ratio(counts, at, confidence) for at in _holding_out(counts)]
    # The rows of ratio 1 have the right columns and types; it is not among those held out, so none of its rows stay.
    return pd.concat(frames, ignore_index=True) if frames else _at_ratio(counts, counts.ratios[0], confidence).iloc[:0]


def cscore(counts: StoreCounts, *, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """One row per example, with CSCORE_COLUMNS: the mean over the `n_ratios` ratios at which the example has a value.

    cscore, se and the interval are NaN where there is none; `n_out` is the number of runs behind the score.
    """
    num_train = counts.labels.num_train
    total, squares, below, above, n_ratios, n_out = (np.zeros(num_train, dtype=kind) for kind in "ddddll")
    for at in _holding_out(counts):
        profile, se = _profile(at)
        low, high = wilson(at.correct_out, at.n_out, confidence)
        valued = at.n_out > 0
        total += np.where(valued, profile, 0.0)
        squares += np.where(valued, se**2, 0.0)
        below += np.where(valued, (profile - low) ** 2, 0.0)
        above += np.where(valued, (high - profile) ** 2, 0.0)
        n_ratios += valued
        n_out += at.n_out
    some = np.where(n_ratios > 0, n_ratios, np.nan)
    score = total / some
    frame = counts.labels.columns().assign(
        cscore=score,
        se=np.sqrt(squares) / some,
        low=score - np.sqrt(below) / some,
        high=score + np.sqrt(above) / some,
        n_ratios=n_ratios,
        n_out=n_out,
    )
    return frame[list(CSCORE_COLUMNS)]


def _holding_out(counts: StoreCounts) -> Sequence[RatioCounts]:
    return [at for at in counts.ratios if at.parts < PARTS]


def _at_ratio(counts: StoreCounts, at: RatioCounts, confidence: float) -> pd.DataFrame:
    profile, se = _profile(at)
    low, high = wilson(at.correct_out, at.n_out, confidence)
    frame = counts.labels.columns().assign(
        ratio=at.ratio, consistency=profile, se=se, low=low, high=high, n_out=at.n_out
    )
    return frame[list(PROFILE_COLUMNS)]


def _profile(at: RatioCounts) -> tuple[Floats, Floats]:
    profile = group_mean(at.correct_out, at.n_out, "nan")
    return profile, mean_se(profile, at.n_out)
