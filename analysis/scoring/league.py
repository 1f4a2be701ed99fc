"""The league of cheap scores: how well each ranks examples as memorization, C-score and vulnerability do.

The runs of each ratio are split into halves a and b (even and odd groups of runs). A score s of one half is compared
with a truth t of the other, so that no model is in both, and the truth's own noise is corrected for (C. Spearman, "The
proof and measurement of association between two things", American Journal of Psychology 1904):

    z           = (atanh r(s_a, t_b) + atanh r(s_b, t_a)) / 2,   spearman = tanh z
    reliability = r(t_a, t_b)                                    of the truth of half of the runs
    corrected   = spearman / sqrt(reliability)                   with a truth of infinitely many runs

with r Spearman's correlation over the examples that have all of these. The score stays one of half of the runs: its own
noise is part of its quality. `corrected` may exceed 1 by chance; it has no value where the reliability is not positive.

Scores and truths are oriented so that high is irregular: mem, 1 - C-score, vulnerability to membership inference.
Errors: of the examples Bonett and Wright's (`analysis.scoring.proxies`), at correlations divided by the square root of
the reliability; of the runs the delete-a-group jackknife over the groups of each half, which covers the reliability as
well. Scores that rest on no runs (densities) are compared with each half's truth.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.estimators.consistency import cscore
from analysis.estimators.memorization import estimate_memorization
from analysis.reading.counts import StoreCounts
from analysis.reading.run_groups import RunGroups, group_runs, number_of_groups
from analysis.reading.run_outputs import read_run_outputs, recorded_signal
from analysis.reading.subset_groups import subset_groups
from analysis.scoring.agreement import spearman
from analysis.scoring.agreement_errors import fisher, slope
from analysis.scoring.example_scores import ExampleScore, largest_ratio, read_example_scores
from analysis.scoring.privacy.vulnerability import example_separation
from analysis.scoring.proxies import spearman_variance
from analysis.statistics.intervals import CONFIDENCE, check_confidence
from analysis.statistics.jackknife import Error, error_of
from workers.common.arrays import Bools, Floats
from workers.errors import EstimateError
from workers.store import Store

TRUTHS = ("mem", "cscore", "vulnerability")
COLUMNS = (
    *("truth", "truth_ratio", "score", "ratio", "examples", "left_out"),
    *("spearman", "spearman_se", "low", "high", "reliability"),
    *("corrected", "corrected_se", "corrected_low", "corrected_high", "over"),
)
_MIN_GROUPS = 4
"""Two in each half, so that one can be left out."""


@dataclass(frozen=True)
class _Truth:
    """A truth of each selection of groups of runs: float64[s, N], high being irregular."""

    name: str
    ratio: float
    values: Floats


@dataclass(frozen=True)
class _Halves:
    """Which groups of runs are selected: bool[2 + g, g], both halves, then each group's half without the group."""

    groups: int

    @property
    def selections(self) -> Bools:
        """bool[2 + g, g]."""
        even = np.arange(self.groups) % 2 == 0
        own = np.where(even[:, None], even, ~even)
        return np.concatenate([[even, ~even], own & ~np.eye(self.groups, dtype=bool)])

    def pairs(self, half: int) -> Iterator[tuple[int, int]]:
        """Rows of `selections` (first half, second half) where one group of a half is left out, group after group."""
        for group in range(half, self.groups, 2):
            yield (2 + group, 1) if half == 0 else (0, 2 + group)


def score_league(store: Store, ratio: float | None = None, *, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """One row per truth and score, best first by `corrected`, with COLUMNS.

    Scores are those of `read_example_scores` at one ratio (None: the largest with runs) without mem and C-score; mem
    and vulnerability are at the ratio below 1 with the most runs, of equals the nearest to 1/2; vulnerability needs
    losses or margins of training examples (`record.outputs`). `examples` have a value in both halves, `left_out` have
    not.
    Raises EstimateError where the store has no score or no ratio below 1, under 4 runs, and as `read_example_scores`.
    """
    check_confidence(confidence)
    halves = _Halves(number_of_groups(store))
    if halves.groups < _MIN_GROUPS:
        raise EstimateError(f"{store.uri}: needs at least {_MIN_GROUPS} runs at a ratio, to split them, got fewer")
    truths = list(_truths(store, halves.selections))
    read = read_example_scores(store, largest_ratio(store, ratio), selections=halves.selections)
    scores = [score for score in read.scores if score.name not in TRUTHS]
    if not scores:
        raise EstimateError(
            f"{store.uri}: has no score to compare: record.presentations or record.training_statistics must be true, "
            "or longtail density called first"
        )
    rows = [_row(truth, score, halves, confidence) for truth in truths for score in scores]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    order = np.lexsort((-frame["corrected"].fillna(-np.inf), frame["truth"].map(TRUTHS.index)))
    return frame.iloc[order].reset_index(drop=True)


def _truths(store: Store, selections: Bools) -> Iterator[_Truth]:
    groups = group_runs(store)
    everything = StoreCounts(groups.labels, tuple(each.over(np.ones(groups.groups, bool)) for each in groups.ratios))
    most = everything.ratio_of_most_runs()
    if most is None:
        raise EstimateError(
            f"{store.uri}: has no memorization or C-score to compare with: at ratio 1 nothing is held out"
        )
    yield _Truth("mem", most.ratio, np.array(list(_memorization(groups, selections, most.ratio_ppm))))
    consistent = (1 - cscore(counts.holding_out())["cscore"].to_numpy() for counts in groups.over(selections))
    yield _Truth("cscore", math.nan, np.array(list(consistent)))
    try:
        recorded_signal(store)
    except EstimateError:
        return
    outputs = read_run_outputs(store, most.ratio)
    group = subset_groups(store, outputs.repetitions) % groups.groups
    separations = (example_separation(outputs.some(selected[group]))["vulnerability"] for selected in selections)
    yield _Truth("vulnerability", most.ratio, np.array(list(separations)))


def _memorization(groups: RunGroups, selections: Bools, ratio_ppm: int) -> Iterator[Floats]:
    for counts in groups.over(selections):
        (chosen,) = (ratio for ratio in counts.ratios if ratio.ratio_ppm == ratio_ppm)
        yield estimate_memorization(StoreCounts(counts.labels, (chosen,)), empty="nan")["mem"].to_numpy()


def _row(truth: _Truth, score: ExampleScore, halves: _Halves, confidence: float) -> dict[str, object]:
    values = _of_selections(score, len(truth.values))
    known = np.isfinite(values[:2]).all(axis=0) & np.isfinite(truth.values[:2]).all(axis=0)
    z, reliability = _compared(values, truth.values, known, (0, 1))
    count, root = int(known.sum()), _root(reliability)
    replicates = [
        np.array([_compared(values, truth.values, known, pair) for pair in halves.pairs(half)]).reshape(-1, 2)
        for half in (0, 1)
    ]
    r = math.tanh(z)
    examples = math.sqrt(spearman_variance(r, count))
    error = error_of(examples, *(each[:, 0] for each in replicates))
    over_root = [np.tanh(each[:, 0]) / np.array([_root(value) for value in each[:, 1]]) for each in replicates]
    corrected = _limits(r / root, error_of(examples * slope(r) / root, *over_root), confidence)
    plain = {"spearman": r, "spearman_se": slope(r) * error.se}
    reach = error.reach(confidence)
    return {
        "truth": truth.name,
        "truth_ratio": truth.ratio,
        "score": score.name,
        "ratio": score.ratio,
        "examples": count,
        "left_out": len(known) - count,
        **plain,
        "low": math.tanh(z - reach),
        "high": math.tanh(z + reach),
        "reliability": reliability,
        **corrected,
        "over": error.over,
    }


def _limits(value: float, error: Error, confidence: float) -> Mapping[str, float]:
    reach = error.reach(confidence) if math.isfinite(error.se) else math.nan
    limits = {"corrected_low": value - reach, "corrected_high": value + reach}
    return {"corrected": value, "corrected_se": error.se, **limits}


def _of_selections(score: ExampleScore, selections: int) -> npt.NDArray[np.floating]:
    """float[s, N], high being irregular; a score that rests on no runs is the same in all."""
    replicates = score.irregular_replicates
    return np.broadcast_to(score.irregularity, (selections, len(score.values))) if replicates is None else replicates


def _compared(
    scores: npt.NDArray[np.floating], truths: Floats, known: Bools, pair: tuple[int, int]
) -> tuple[float, float]:
    """z and the truth's reliability of two halves, over the examples of a mask that have all four values."""
    a, b = pair
    some = known & np.isfinite(scores[[a, b]]).all(axis=0) & np.isfinite(truths[[a, b]]).all(axis=0)
    score_a, score_b, truth_a, truth_b = (each[some].astype(np.float64) for each in (*scores[[a, b]], *truths[[a, b]]))
    z = (fisher(spearman(score_a, truth_b)) + fisher(spearman(score_b, truth_a))) / 2
    return z, spearman(truth_a, truth_b)


def _root(reliability: float) -> float:
    return math.sqrt(reliability) if reliability > 0 else math.nan
