"""Split-half reliability of estimates, as a function of the number of runs.

The runs of each ratio are split at random into two halves of n/2, each half gives its own estimates, and over the
examples with a value in both halves

    r            = correlation of the halves' estimates: the reliability of n/2 runs (Pearson's; Spearman's beside it)
    2 r / (1 + |r|)                                       the reliability of all n (Spearman-Brown)

C. Spearman and W. Brown, British Journal of Psychology 3 (1910). For an estimate of true variance V over the examples
and error variance E with n/2 runs, r is V / (V + E), and the formula gives V / (V + E/2). Where a published selection
exists, J = |A and B| / |A or B| is how far both halves select the same: the memorized examples, mem >= 0.25, and the
high-influence pairs, infl >= 0.15 and mem >= 0.25 and the same class (V. Feldman and C. Zhang, NeurIPS 2020, whose
consistency figure it is).

A half without runs on both sides of an example has no estimate of it: no convention stands in (1/2 in the paper), as it
would be the same in both halves.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.estimators.consistency import consistency_profile, cscore
from analysis.estimators.memorization import estimate_memorization
from analysis.influence.pair_overlap import Overlap, overlap, pair_overlap
from analysis.reading.counts import RatioCounts, StoreCounts
from analysis.reading.examples import Labels, read_labels
from analysis.reading.halves import PackedRatio, count_half, draw_halves, pack_ratio
from analysis.reading.selection import select_ratios
from analysis.scoring.agreement import correlation, spearman
from workers.campaign.campaign import PPM
from workers.campaign.plural import count_text
from workers.common.arrays import Floats
from workers.errors import EstimateError, NoEstimateError
from workers.store import Store

MIN_MEM, MIN_INFL = 0.25, 0.15
"""Feldman and Zhang's selection."""

_ORDER = ("memorization", "consistency", "cscore", "influential_pairs")
_KEYS = ("estimate", "ratio", "runs", "runs_per_half")
_SIZES = ("examples", "selected")
_AVERAGED = ("pearson", "spearman", "spearman_brown", "jaccard")
_MEASURED = (*_SIZES, *_AVERAGED)
COLUMNS = (
    *(*_KEYS, "splits", "examples", "pearson", "pearson_sd", "spearman", "spearman_sd"),
    *("spearman_brown", "spearman_brown_sd", "selected", "jaccard", "jaccard_sd"),
)

_MIN_RUNS = 4
"""Halves of one run have no example on both sides of a subset."""
_FIRST_RUNG = 8

ReliabilityRow = dict[str, Any]


def estimate_reliability(
    store: Store,
    ratio: float | None = None,
    *,
    splits: int = 10,
    seed: int = 0,
    epoch: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """One row per estimate, ratio and number of runs, with COLUMNS: means over random splits, and standard deviations.

    `estimate` is memorization, consistency, influential_pairs (with a test set), and cscore (where all ratios are
    requested, and there are several; its ratio is NaN). `runs` are 8, 16, 32, ... and all, an odd one left out, in two
    halves of `runs_per_half`: a random subset in each split; cscore takes so many at each ratio, or all where a ratio
    has fewer. `examples` have a value in both halves, `selected` examples or pairs are in a half's selection, both on
    average. The standard deviation (`_sd`) is over the splits, which share runs: at all runs, it tells how much the
    split matters, and not how much other runs would.

    A split without a value (scores that do not vary, r = -1 in Spearman-Brown, two empty selections) is left out of a
    mean; where no split has one, and with fewer than 4 runs, it is NaN. Ratio 1 holds nothing out and is left out.
    Where runs share subsets (`subsets.replicates`), subsets are split, with all of their runs, and `runs` counts them.
    Raises EstimateError where no run is left, for `splits` under 1, a negative `seed`, and as `pack_columns`.
    """
    check_whole("splits", splits, 1)
    check_whole("seed", seed, 0)
    report_stage = progress or (lambda line: None)
    chosen = [ratio_ppm for ratio_ppm in select_ratios(store, ratio) if ratio_ppm < PPM]
    if not chosen:
        raise EstimateError(f"{store.uri}: at ratio 1 no example is held out, so there is nothing to split")
    report_stage("reading")
    labels = read_labels(store)
    ratios = [pack_ratio(store, labels, ratio_ppm, epoch) for ratio_ppm in chosen]
    if not any(ratio.bits.runs for ratio in ratios):
        diverged = sum(ratio.bits.diverged for ratio in ratios)
        raise NoEstimateError(f"{store.uri}: has no run to split, all {count_text(diverged, 'committed run')} diverged")
    records: list[ReliabilityRow] = []
    for at in ratios:
        for used in ladder(at.units):
            report_stage(f"ratio {at.bits.ratio}: {count_text(splits, 'split')} of {count_text(used, 'run')}")
            for split in range(splits):
                records += _at_ratio(at, used, seed, split)
    if len(ratios) > 1:
        for used in ladder(max(ratio.units for ratio in ratios)):
            report_stage(f"C-score: {count_text(splits, 'split')} of {count_text(used, 'run')} at each ratio")
            records += [_of_cscore(labels, ratios, used, seed, split) for split in range(splits)]
    return _summary(records, splits)


def check_whole(name: str, value: int, least: int) -> None:
    """Raise EstimateError, which names the option, where it is no whole number of at least so much."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise EstimateError(f"{name} must be a whole number of at least {least}, got {value!r}")


def ladder(runs: int) -> list[int]:
    """Numbers of runs: powers of two, then all, without an odd one; below the minimum only the number itself."""
    if runs < _MIN_RUNS:
        return [runs]
    rungs: list[int] = []
    while (rung := _FIRST_RUNG << len(rungs)) < runs // 2 * 2:
        rungs.append(rung)
    return [*rungs, runs // 2 * 2]


def _at_ratio(ratio: PackedRatio, used: int, seed: int, split: int) -> list[ReliabilityRow]:
    """One split of `used` runs of a ratio: its memorization, consistency, and pairs where there is a test set."""
    bits = ratio.bits
    rows = [ratio.rows_of(half) for half in draw_halves(seed, bits.ratio_ppm, ratio.units, used, split)]
    halves = [StoreCounts(bits.labels, (count_half(ratio, row),)) for row in rows]
    mem, profile = (
        [estimate(half)[column].to_numpy() for half in halves]
        for estimate, column in ((_memorization, "mem"), (consistency_profile, "consistency"))
    )
    memorized = mem[0] >= MIN_MEM, mem[1] >= MIN_MEM
    records = [
        _record("memorization", bits.ratio, used, mem, overlap(*memorized)),
        _record("consistency", bits.ratio, used, profile),
    ]
    if bits.labels.num_test:
        pairs = pair_overlap((bits.of_runs(rows[0]), bits.of_runs(rows[1])), memorized, MIN_INFL)
        records.append(_record("influential_pairs", bits.ratio, used, selected=pairs))
    return records


def _memorization(counts: StoreCounts) -> pd.DataFrame:
    return estimate_memorization(counts, empty="nan")


def _of_cscore(labels: Labels, ratios: Sequence[PackedRatio], used: int, seed: int, split: int) -> ReliabilityRow:
    """One split of at most `used` runs at each ratio; the same halves as for the ratio itself."""
    halves: tuple[list[RatioCounts], list[RatioCounts]] = ([], [])
    for ratio in ratios:
        taken = min(used, ladder(ratio.units)[-1])
        for half, units in zip(halves, draw_halves(seed, ratio.bits.ratio_ppm, ratio.units, taken, split), strict=True):
            half.append(count_half(ratio, ratio.rows_of(units)))
    scores = [cscore(StoreCounts(labels, tuple(half)))["cscore"].to_numpy() for half in halves]
    return _record("cscore", float("nan"), used, scores)


def _record(
    estimate: str, ratio: float, used: int, scores: Sequence[Floats] | None = None, selected: Overlap | None = None
) -> ReliabilityRow:
    """A split's figures: of the halves' scores (float64[N] each), of what they select, or of both."""
    record: ReliabilityRow = {"estimate": estimate, "ratio": ratio, "runs": used, "runs_per_half": used // 2}
    if used < _MIN_RUNS:
        return record
    if scores is not None:
        record |= correlations(*scores)
    if selected is not None:
        record |= {"selected": selected.selected, "jaccard": selected.jaccard}
    return record


def correlations(first: Floats, second: Floats) -> ReliabilityRow:
    """Correlations of two halves' scores (float64[N], NaN where there is none), over the examples with a value in both.

    examples, pearson, spearman, and by Spearman-Brown the reliability of both halves together, 2 r / (1 + |r|); NaN
    where a half does not vary. Spearman and Brown's formula is for r >= 0: of r < 0, which chance makes where runs are
    few, it has no lower bound, and one split would carry the mean over splits off. With |r| it stays from -1 to 1.
    """
    from scipy import stats

    valued = np.isfinite(first) & np.isfinite(second)
    pearson = correlation(stats.pearsonr, first[valued], second[valued])
    return {
        "examples": int(valued.sum()),
        "pearson": pearson,
        "spearman": spearman(first[valued], second[valued]),
        "spearman_brown": 2 * pearson / (1 + abs(pearson)),
    }


def _summary(records: list[ReliabilityRow], splits: int) -> pd.DataFrame:
    """Means and standard deviations over the splits."""
    frame = pd.DataFrame(records, columns=[*_KEYS, *_SIZES, *_AVERAGED]).astype(dict.fromkeys(_MEASURED, float))
    groups = frame.groupby(list(_KEYS), sort=False, dropna=False)
    deviations = groups[list(_AVERAGED)].std().add_suffix("_sd")
    summary = groups[list(_MEASURED)].mean().join(deviations).reset_index().assign(splits=splits)
    # Stable, so that ratios and runs stay ascending.
    order = np.argsort(summary["estimate"].map(_ORDER.index), kind="stable")
    return summary.iloc[order].reset_index(drop=True)[list(COLUMNS)]
