"""Bounds on the effect of diverged runs, which every estimate leaves out as if at random.

With d_A and d_B the diverged runs with and without example i, of which nothing is known, each of them could have been
right or wrong, so that over all runs the estimates would lie within

    mem          c_A / (n_A + d_A) - (c_B + d_B) / (n_B + d_B)   to   (c_A + d_A) / (n_A + d_A) - c_B / (n_B + d_B)
    consistency  c_B / (n_B + d_B)                               to   (c_B + d_B) / (n_B + d_B)
    C-score      means of the limits of consistency over the ratios

with n the runs that are used and c those of them that are right. A mean over n of n + d runs is off by at most
d / (n + d). That is no confidence interval, and holds however the runs diverged; C. F. Manski, "Nonparametric bounds on
treatment effects", American Economic Review 1990. An influence is off by no more than `infl_change`, whatever the test
example.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.reading.counts import RatioCounts, StoreCounts
from analysis.statistics.means import group_mean, mean_difference
from workers.campaign.plural import count_text
from workers.common.arrays import Floats, Integers
from workers.errors import EstimateError

COLUMNS = (
    *("ratio", "example_id", "label", "given_label", "diverged_in", "diverged_out"),
    *("mem_low", "mem_high", "consistency_low", "consistency_high", "infl_change"),
)


def diverged_bounds(counts: StoreCounts) -> pd.DataFrame:
    """One row per ratio and example, with COLUMNS; limits are NaN where no run at all is in a group.

    Where none diverged, both limits are the estimate, and `infl_change` is 0. Raises EstimateError where the diverged
    runs' subsets were not counted: at another epoch than the last, which some of them did not reach.
    """
    return pd.concat([_at_ratio(counts, ratio) for ratio in counts.ratios], ignore_index=True)


def cscore_bounds(counts: StoreCounts) -> tuple[Floats, Floats]:
    """The limits of the C-score over the ratios that hold examples out: float64[N] each, NaN where it has no value."""
    limits = [_consistency(ratio) for ratio in counts.holding_out().ratios]
    if not limits:
        return np.full((2, counts.labels.num_train), np.nan)[0], np.full(counts.labels.num_train, np.nan)
    low, high = np.array(limits).swapaxes(0, 1)
    ratios = (~np.isnan(low)).sum(axis=0)
    of_none = np.where(ratios > 0, 0.0, np.nan)
    return tuple(np.nansum(each, axis=0) / np.maximum(ratios, 1) + of_none for each in (low, high))


def diverged_notes(ratios: Sequence[RatioCounts]) -> list[str]:
    """A line for each ratio with diverged runs: how far mem and consistency could be off because of them.

    A ratio without others is left out of estimates.
    """
    notes = []
    for ratio in ratios:
        if not ratio.diverged:
            continue
        if not ratio.runs:
            notes.append(
                f"ratio {ratio.ratio:g}: all {count_text(ratio.diverged, 'run')} diverged: the ratio is left out"
            )
            continue
        total = ratio.runs + ratio.diverged
        text = f"ratio {ratio.ratio:g}: {ratio.diverged:,} of {total:,} runs diverged and are left out"
        held = (ratio.n_out > 0).any() and (ratio.n_in > 0).any()
        if held:
            mem, out = _largest_change(ratio)
            text += f"; had they not, mem could differ by up to {mem:.3f}, the share right when held out by {out:.3f}"
        notes.append(text)
    return notes


def _largest_change(ratio: RatioCounts) -> tuple[float, float]:
    """Of mem and of consistency, over the examples that have one."""
    (mem_low, mem_high), (low, high) = _memorization(ratio), _consistency(ratio)
    p_out = group_mean(ratio.correct_out, ratio.n_out, "nan")
    mem = mean_difference(ratio.correct_in, ratio.n_in, ratio.correct_out, ratio.n_out, "nan")
    return _largest(np.fmax(mem - mem_low, mem_high - mem)), _largest(np.fmax(p_out - low, high - p_out))


def _largest(changes: Floats) -> float:
    """NaN where there is none."""
    return float(np.nanmax(changes)) if np.isfinite(changes).any() else float("nan")


def _at_ratio(counts: StoreCounts, ratio: RatioCounts) -> pd.DataFrame:
    d_in, d_out = _diverged(ratio)
    (mem_low, mem_high), (low, high) = _memorization(ratio), _consistency(ratio)
    frame = counts.labels.columns().assign(
        ratio=ratio.ratio,
        diverged_in=d_in,
        diverged_out=d_out,
        mem_low=mem_low,
        mem_high=mem_high,
        consistency_low=low,
        consistency_high=high,
        infl_change=_share(d_in, ratio.n_in) + _share(d_out, ratio.n_out),
    )
    return frame[list(COLUMNS)]


def _memorization(ratio: RatioCounts) -> tuple[Floats, Floats]:
    """Rounded once, as mem is: equal to it where no run diverged."""
    d_in, d_out = _diverged(ratio)
    n_in, n_out = ratio.n_in + d_in, ratio.n_out + d_out
    low = mean_difference(ratio.correct_in, n_in, ratio.correct_out + d_out, n_out, "nan")
    high = mean_difference(ratio.correct_in + d_in, n_in, ratio.correct_out, n_out, "nan")
    return low, high


def _consistency(ratio: RatioCounts) -> tuple[Floats, Floats]:
    return _limits(ratio.correct_out, ratio.n_out, _diverged(ratio)[1])


def _limits(correct: Integers, runs: Integers, diverged: Integers) -> tuple[Floats, Floats]:
    return group_mean(correct, runs + diverged, "nan"), group_mean(correct + diverged, runs + diverged, "nan")


def _share(diverged: Integers, runs: Integers) -> Floats:
    return group_mean(diverged, runs + diverged, "nan")


def _diverged(ratio: RatioCounts) -> tuple[Integers, Integers]:
    """The diverged runs with and without each example."""
    if ratio.diverged_in is None:
        raise EstimateError(f"ratio {ratio.ratio:g}: the diverged runs' subsets are known at the last epoch only")
    return ratio.diverged_in, ratio.diverged - ratio.diverged_in
