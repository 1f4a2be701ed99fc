"""Memorization, consistency and C-score of an output (margin, loss, probability) in place of correctness.

With m_k(i) the output of run k for example i, A_i the runs that trained on it and B_i the others:

    mem(i)        = mean_{A_i} m_k(i) - mean_{B_i} m_k(i)      SE^2 = s_A^2 / |A_i| + s_B^2 / |B_i|
    profile(i, r) = mean_{B_i at ratio r} m_k(i)               SE = s_B / sqrt(|B_i|)
    C-score(i)    = mean_r profile(i, r)                       SE^2 = sum_r SE_r^2 / R^2

Limits are Student's t with Welch's and Satterthwaite's degrees of freedom (`analysis.statistics.run_means`). These are
V. Feldman and C. Zhang's and Z. Jiang et al.'s definitions with another measure of a model's success, in its own unit.
A positive mem of margin or probability is memorization; of loss a negative one is. A group of fewer than two runs has
no standard error. Runs that share a subset (`subsets.replicates`) are averaged first, and subsets take their place.
"""

import numpy as np
import pandas as pd

from analysis.reading.output_moments import OutputMoments, RatioMoments
from analysis.statistics.intervals import CONFIDENCE, check_confidence
from analysis.statistics.run_means import satterthwaite_interval
from workers.campaign.campaign import PPM

_EXAMPLE = ("example_id", "label", "given_label")
MEMORIZATION_COLUMNS = ("ratio", *_EXAMPLE, "mem", "se", "low", "high", "n_in", "mean_in", "n_out", "mean_out")
PROFILE_COLUMNS = ("ratio", *_EXAMPLE, "consistency", "se", "low", "high", "n_out")
CSCORE_COLUMNS = (*_EXAMPLE, "cscore", "se", "low", "high", "n_ratios", "n_out")


def output_memorization(moments: OutputMoments, *, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """One row per ratio and example, with MEMORIZATION_COLUMNS; mem is NaN where a group has no run.

    `low` and `high` are NaN where a group has fewer than two. Raises EstimateError for a bad `confidence`.
    """
    check_confidence(confidence)
    frames = []
    for at in moments.ratios:
        values = at.inside.mean - at.outside.mean
        errors, units = np.array([at.inside.se, at.outside.se]), np.array([at.inside.units, at.outside.units])
        low, high = satterthwaite_interval(values, errors, units, confidence)
        frame = moments.labels.columns().assign(
            ratio=at.ratio,
            mem=values,
            se=np.sqrt((errors**2).sum(axis=0)),
            low=low,
            high=high,
            n_in=at.inside.n,
            mean_in=at.inside.mean,
            n_out=at.outside.n,
            mean_out=at.outside.mean,
        )
        frames.append(frame[list(MEMORIZATION_COLUMNS)])
    return pd.concat(frames, ignore_index=True)


def output_profile(moments: OutputMoments, *, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """One row per ratio under 1 and example, with PROFILE_COLUMNS; NaN where no run held the example out."""
    check_confidence(confidence)
    frames = []
    for at in _holding_out(moments):
        low, high = satterthwaite_interval(at.outside.mean, at.outside.se[None], at.outside.units[None], confidence)
        frame = moments.labels.columns().assign(
            ratio=at.ratio, consistency=at.outside.mean, se=at.outside.se, low=low, high=high, n_out=at.outside.n
        )
        frames.append(frame[list(PROFILE_COLUMNS)])
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(PROFILE_COLUMNS))


def output_cscore(moments: OutputMoments, *, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """One row per example, with CSCORE_COLUMNS: the mean over the `n_ratios` ratios at which it was held out.

    The interval is NaN where one of these ratios has a single run. Raises EstimateError for a bad `confidence`.
    """
    check_confidence(confidence)
    held_out = _holding_out(moments)
    shape = (len(held_out), moments.labels.num_train)
    runs = np.array([at.outside.n for at in held_out]).reshape(shape)
    units = np.array([at.outside.units for at in held_out]).reshape(shape)
    means = np.array([at.outside.mean for at in held_out]).reshape(shape)
    errors = np.array([at.outside.se for at in held_out]).reshape(shape)
    n_ratios = (runs > 0).sum(axis=0)
    some = np.where(n_ratios > 0, n_ratios, np.nan)
    values = np.nansum(means, axis=0) / some
    # A ratio without a run is not part of the mean: an error of 0 of a group of any size.
    shares, sizes = np.where(runs > 0, errors, 0.0) / some, np.where(runs > 0, units, 2)
    low, high = satterthwaite_interval(values, shares, sizes, confidence)
    frame = moments.labels.columns().assign(
        cscore=values,
        se=np.sqrt((shares**2).sum(axis=0)),
        low=low,
        high=high,
        n_ratios=n_ratios,
        n_out=runs.sum(axis=0),
    )
    return frame[list(CSCORE_COLUMNS)]


def _holding_out(moments: OutputMoments) -> list[RatioMoments]:
    return [at for at in moments.ratios if at.ratio_ppm < PPM]
