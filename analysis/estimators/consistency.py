"""Consistency profile and C-score: an example's accuracy over the runs that did not train on it.

    profile(i, r) = mean_{k at ratio r, i not in S_k} c_k(i)        SE = sqrt(p (1 - p) / n)
    C-score(i)    = mean_r profile(i, r)                            SE = sqrt(sum_r SE_r^2) / number of ratios

Z. Jiang, C. Zhang, K. Talwar and M. C. Mozer, "Characterizing structural regularities of labeled data in
overparameterized models", ICML 2021. The mean over the ratios is unweighted. An example that no run held out at r has
no value at r, and does not count as 0: a 0 would make it the least regular example there is. At ratio 1 nothing is ever
held out, so that ratio is left out. Where runs share subsets (`subsets.replicates`), standard errors are those of the
subsets' means: `analysis.statistics.clustered_means`.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.reading.counts import RatioCounts, StoreCounts
from analysis.statistics.intervals import CONFIDENCE, average_interval, mean_interval
from analysis.statistics.means import average_mean, group_mean
from workers.campaign.campaign import PPM

PROFILE_COLUMNS = ("ratio", "example_id", "label", "given_label", "consistency", "se", "low", "high", "n_out")
CSCORE_COLUMNS = ("example_id", "label", "given_label", "cscore", "se", "low", "high", "n_ratios", "n_out")


def consistency_profile(counts: StoreCounts, *, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """One row per ratio under 1 and example, with PROFILE_COLUMNS; consistency and se are NaN where n_out is 0.

    `low` and `high` are the limits of consistency at the level `confidence`, 0 and 1 where n_out is 0. Raises
    EstimateError for a bad `confidence`.
    """
    frames = [_at_ratio(counts, ratio, confidence) for ratio in _holding_out(counts)]
    # The rows of ratio 1 have the right columns and types; it is not among those held out, so none of its rows stay.
    return pd.concat(frames, ignore_index=True) if frames else _at_ratio(counts, counts.ratios[0], confidence).iloc[:0]


def cscore(counts: StoreCounts, *, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """One row per example, with CSCORE_COLUMNS: the mean over the `n_ratios` ratios at which the example has a value.

    cscore and se are NaN where there is none; `n_out` is the number of runs behind the score, over all ratios. `low`
    and `high` are the limits of cscore at the level `confidence`, 0 and 1 where there is none. Raises EstimateError for
    a bad `confidence`.
    """
    held_out = _holding_out(counts)
    shape = (len(held_out), counts.labels.num_train)
    n_out = np.array([ratio_counts.n_out for ratio_counts in held_out], dtype=np.int64).reshape(shape)
    correct = np.array([ratio_counts.correct_out for ratio_counts in held_out], dtype=np.int64).reshape(shape)
    profiles = group_mean(correct, n_out, "nan")
    n_ratios = (n_out > 0).sum(axis=0)
    some = np.where(n_ratios > 0, n_ratios, np.nan)
    effective = np.array([at.effective_out(confidence) for at in held_out], dtype=np.float64).reshape(shape)
    variances = np.array([at.variance_out for at in held_out]).reshape(shape)
    low, high = average_interval(profiles, effective, confidence)
    frame = counts.labels.columns().assign(
        cscore=average_mean(correct, n_out),
        se=np.sqrt(np.nansum(variances, axis=0)) / some,
        low=low,
        high=high,
        n_ratios=n_ratios,
        n_out=n_out.sum(axis=0),
    )
    return frame[list(CSCORE_COLUMNS)]


def _holding_out(counts: StoreCounts) -> Sequence[RatioCounts]:
    return [ratio for ratio in counts.ratios if ratio.ratio_ppm < PPM]


def _at_ratio(counts: StoreCounts, ratio: RatioCounts, confidence: float) -> pd.DataFrame:
    profile = group_mean(ratio.correct_out, ratio.n_out, "nan")
    low, high = mean_interval(profile, ratio.effective_out(confidence), confidence)
    frame = counts.labels.columns().assign(
        ratio=ratio.ratio,
        consistency=profile,
        se=np.sqrt(ratio.variance_out),
        low=low,
        high=high,
        n_out=ratio.n_out,
    )
    return frame[list(PROFILE_COLUMNS)]
