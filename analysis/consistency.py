"""Consistency profile and C-score: how often an example is predicted right by models that did not train on it.

    profile(i, r) = mean_{k at ratio r, i not in S_k} c_k(i)        SE = sqrt(p (1 - p) / n)
    C-score(i)    = mean_r profile(i, r)                            SE = sqrt(sum_r SE_r^2) / number of ratios

Z. Jiang, C. Zhang, K. Talwar and M. C. Mozer, "Characterizing structural regularities of labeled data in
overparameterized models", ICML 2021. The mean over the ratios is unweighted. An example that no run held out at r has
no value at r, and does not count as 0: a 0 would make it the least regular example there is. At ratio 1 nothing is ever
held out, so that ratio is left out.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.counts import RatioCounts, StoreCounts
from analysis.means import Floats, group_mean, mean_se
from workers.campaign import PARTS

PROFILE_COLUMNS = ("ratio", "example_id", "label", "given_label", "consistency", "se", "n_out")
CSCORE_COLUMNS = ("example_id", "label", "given_label", "cscore", "se", "n_ratios", "n_out")


def consistency_profile(counts: StoreCounts) -> pd.DataFrame:
    """One row per ratio under 1 and example, with PROFILE_COLUMNS; consistency and se are NaN where n_out is 0."""
    frames = [_at_ratio(counts, at) for at in _holding_out(counts)]
    # The rows of ratio 1 have the right columns and types; it is not among those held out, so none of its rows stay.
    return pd.concat(frames, ignore_index=True) if frames else _at_ratio(counts, counts.ratios[0]).iloc[:0]


def cscore(counts: StoreCounts) -> pd.DataFrame:
    """One row per example, with CSCORE_COLUMNS: the mean over the `n_ratios` ratios at which the example has a value.

    cscore and se are NaN where there is none; `n_out` is the number of runs behind the score, over all ratios.
    """
    num_train = counts.labels.num_train
    total, squares, n_ratios, n_out = (np.zeros(num_train, dtype=kind) for kind in "ddll")
    for at in _holding_out(counts):
        profile, se = _profile(at)
        valued = at.n_out > 0
        total += np.where(valued, profile, 0.0)
        squares += np.where(valued, se**2, 0.0)
        n_ratios += valued
        n_out += at.n_out
    some = np.where(n_ratios > 0, n_ratios, np.nan)
    frame = counts.labels.columns().assign(
        cscore=total / some, se=np.sqrt(squares) / some, n_ratios=n_ratios, n_out=n_out
    )
    return frame[list(CSCORE_COLUMNS)]


def _holding_out(counts: StoreCounts) -> Sequence[RatioCounts]:
    return [at for at in counts.ratios if at.parts < PARTS]


def _at_ratio(counts: StoreCounts, at: RatioCounts) -> pd.DataFrame:
    profile, se = _profile(at)
    frame = counts.labels.columns().assign(ratio=at.ratio, consistency=profile, se=se, n_out=at.n_out)
    return frame[list(PROFILE_COLUMNS)]


def _profile(at: RatioCounts) -> tuple[Floats, Floats]:
    profile = group_mean(at.correct_out, at.n_out, "nan")
    return profile, mean_se(profile, at.n_out)
