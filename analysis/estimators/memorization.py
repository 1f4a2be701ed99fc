"""Memorization: the difference in an example's accuracy between runs that trained on it and runs that did not.

    mem(i) = P[model trained with i predicts y_i] - P[model trained without i predicts y_i]

V. Feldman and C. Zhang, "What neural networks memorize and why: discovering the long tail via influence estimation",
NeurIPS 2020, eq. 1, and its Monte Carlo estimator over models trained on random subsets: with A_i the runs whose subset
holds i and B_i the others,

    mem(i) = mean_{k in A_i} c_k(i) - mean_{k in B_i} c_k(i)
    SE(i)  = sqrt(p_A (1 - p_A) / |A_i| + p_B (1 - p_B) / |B_i|)

In the paper an empty group's mean is 1/2. Where runs share subsets (`subsets.replicates`), SE is that of the subsets'
means: `analysis.statistics.clustered_means`.
"""

import numpy as np
import pandas as pd

from analysis.reading.counts import RatioCounts, StoreCounts
from analysis.statistics.intervals import CONFIDENCE, difference_interval
from analysis.statistics.means import Empty, group_mean, mean_difference

COLUMNS = (
    *("ratio", "example_id", "label", "given_label"),
    *("mem", "se", "low", "high", "n_in", "p_in", "n_out", "p_out"),
)


def estimate_memorization(
    counts: StoreCounts, *, empty: Empty = "half", confidence: float = CONFIDENCE
) -> pd.DataFrame:
    """One row per ratio and example, with COLUMNS; mem = p_in - p_out in [-1, 1].

    mem is rounded once, so that it reaches a threshold exactly where the counts do: see `analysis.statistics.means`.
    `p_in` and `p_out` are the means used: `empty` decides those of groups without runs (n_in or n_out is 0); then `se`
    is NaN. `low` and `high` are the limits of mem at the level `confidence`, and do not depend on `empty`: see
    `analysis.statistics.intervals`. Raises EstimateError for an unknown `empty` and a bad `confidence`.
    """
    return pd.concat([_at_ratio(counts, ratio, empty, confidence) for ratio in counts.ratios], ignore_index=True)


def _at_ratio(counts: StoreCounts, ratio: RatioCounts, empty: Empty, confidence: float) -> pd.DataFrame:
    p_in = group_mean(ratio.correct_in, ratio.n_in, empty)
    p_out = group_mean(ratio.correct_out, ratio.n_out, empty)
    effective = ratio.effective_in(confidence), ratio.effective_out(confidence)
    low, high = difference_interval(p_in, effective[0], p_out, effective[1], confidence)
    frame = counts.labels.columns().assign(
        ratio=ratio.ratio,
        mem=mean_difference(ratio.correct_in, ratio.n_in, ratio.correct_out, ratio.n_out, empty),
        se=np.sqrt(ratio.variance_in + ratio.variance_out),
        low=low,
        high=high,
        n_in=ratio.n_in,
        p_in=p_in,
        n_out=ratio.n_out,
        p_out=p_out,
    )
    return frame[list(COLUMNS)]
