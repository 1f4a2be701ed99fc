"""Agreement of two sets of scores of the same examples: two campaigns, or a campaign and published scores.

Over the examples with a value in both: Spearman's rank correlation, Pearson's correlation, the mean absolute
difference, and, for each threshold, the Jaccard index of the examples selected by either, and their mean difference,

    J = |A and B| / |A or B|        A = {i: mem_a(i) >= threshold}, or {i: C-score_a(i) <= threshold}; B likewise
    D = mean over A or B of |mem_a(i) - mem_b(i)|

(V. Feldman and C. Zhang, NeurIPS 2020, figure 7, for architectures), so that both directions select the long tail: the
memorized, or the least regular, examples; likewise those that are forgotten often (`analysis.learning.forgetting`), by
forgettability. J and D are NaN where neither selects any. Each has an interval over examples and over the runs of both:
`analysis.scoring.agreement_errors`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.scoring.agreement_errors import Measure, Side, measure_errors, names_of, of_examples
from analysis.scoring.matching import match_examples
from analysis.scoring.scores import (
    Estimate,
    Scores,
    Source,
    UnseenByEncoder,
    chosen_estimate,
    is_score_file,
    read_scores,
)
from analysis.statistics.intervals import CONFIDENCE, check_confidence
from workers.common.arrays import Bools, Floats
from workers.errors import EstimateError

_SHARES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9)
THRESHOLDS: dict[Estimate, tuple[float, ...]] = {
    "memorization": _SHARES,
    "cscore": _SHARES,
    "forgetting": (0.5, 1, 2, 5),
}
"""Default thresholds; those of forgetting are in events/run."""
SELECTS: dict[Estimate, str] = {"memorization": ">=", "cscore": "<=", "forgetting": ">="}
"""Which side of a threshold is the long tail."""

_DECIMALS = 12
"""Scores that are equal, such as 1 - 2/3 and 1/3, differ behind these, and would get different ranks."""

A_AND_B = "a and b"
"""What a curve compares: two sets of scores as they are."""

SELECTION_COLUMNS = ("threshold", "n_a", "n_b", "n_both", "jaccard")
_LIMITED = ("se", "low", "high")
CURVE_COLUMNS = (
    *("compared", "threshold", "n_a", "n_b", "n_both"),
    *("jaccard", *(f"jaccard_{each}" for each in _LIMITED)),
    *("difference", *(f"difference_{each}" for each in _LIMITED)),
    "over",
)
"""Of a curve of agreement: by threshold the sizes, the Jaccard index, and the mean difference over the union."""


@dataclass(frozen=True)
class Agreement:
    """Agreement of two sets of scores.

    `scores` has one row per example with a finite value in both: example_id, label, a, b; `name` where a has names, and
    example_id_b where ids in b are others. `left_out` counts the examples that both have without a value in both.
    `selections` has one row per threshold, with SELECTION_COLUMNS. The correlations are NaN where all values of one
    side are equal. `errors` has the columns of `analysis.scoring.agreement_errors`: a row for each correlation, the
    difference, and the Jaccard index and the mean difference of what either selects at each threshold.
    """

    estimate: Estimate
    name_a: str
    name_b: str
    scores: pd.DataFrame
    left_out: int
    spearman: float
    pearson: float
    mean_absolute_difference: float
    selections: pd.DataFrame
    errors: pd.DataFrame
    matched: str = ""
    """Which examples both have and how that was found; empty where both are of the same data."""

    @property
    def curve(self) -> pd.DataFrame:
        """One row per threshold, with CURVE_COLUMNS; `compared` is `a and b`."""
        errors = self.errors.set_index("measure")
        thresholds = self.selections["threshold"].tolist()
        columns: dict[str, Any] = {}
        for measure in ("jaccard", "difference"):
            rows = errors.loc[names_of(thresholds, measure)]
            columns[measure] = rows["value"].to_numpy()
            columns |= {f"{measure}_{each}": rows[each].to_numpy() for each in _LIMITED}
            columns["over"] = rows["over"].to_numpy()
        frame = self.selections.drop(columns="jaccard").assign(compared=A_AND_B, **columns)
        return frame[list(CURVE_COLUMNS)]


def compare(
    a: Source | UnseenByEncoder,
    b: Source | UnseenByEncoder,
    *,
    estimate: Estimate | None = None,
    ratio: float | None = None,
    thresholds: Sequence[float] | None = None,
    confidence: float = CONFIDENCE,
) -> Agreement:
    """The agreement of two stores, of a store and a score file (see `analysis.scoring.scores`), or of two score files.

    `estimate` must be given where a score file takes part, which does not tell what it holds; of two stores it is the
    memorization. `ratio` holds for every store: None stands for the only one (memorization, forgetting), or for all
    (C-score). `thresholds` None stands for THRESHOLDS of the estimate. Compared are the examples that both have (see
    `analysis.scoring.matching`); with `UnseenByEncoder(store)` for a side, those among them that the encoder of the
    store's features was not trained on. Raises EstimateError where there is none, nothing tells which they are, or no
    example has a value in both; see also `read_scores`.
    """
    sources = [side.store if isinstance(side, UnseenByEncoder) else side for side in (a, b)]
    chosen = chosen_estimate(sources, estimate)
    if ratio is not None and all(map(is_score_file, sources)):
        raise EstimateError(f"ratio must be left out with two score files, got {ratio!r}")
    ours, theirs = (
        side.scores(chosen, ratio, replicates=True)
        if isinstance(side, UnseenByEncoder)
        else read_scores(side, chosen, ratio, replicates=True)
        for side in (a, b)
    )
    bars = THRESHOLDS[chosen] if thresholds is None else thresholds
    return agreement(ours, theirs, chosen, bars, confidence=confidence)


def agreement(
    a: Scores, b: Scores, estimate: Estimate, thresholds: Sequence[float], *, confidence: float = CONFIDENCE
) -> Agreement:
    """The agreement on the examples that both have. Raises EstimateError as `compare`, and for a NaN threshold."""
    check_confidence(confidence)
    shared = match_examples(a, b)
    valued = np.isfinite(a.values[shared.a]) & np.isfinite(b.values[shared.b])
    if not valued.any():
        raise EstimateError(f"no example has a value in both {a.source} and {b.source}")
    from scipy import stats

    ids, ids_b = shared.a[valued], shared.b[valued]
    x, y = a.values[ids], b.values[ids_b]
    scores = pd.DataFrame({"example_id": ids, "label": a.labels[ids], "a": x, "b": y})
    if a.names is not None:
        scores.insert(1, "name", a.names.take(pa.array(ids)).to_pylist())
    if not np.array_equal(ids, ids_b):
        scores.insert(1, "example_id_b", ids_b)
    selections = [_selection(x, y, estimate, threshold) for threshold in thresholds]
    side_a, side_b = (Side(each.values[of], of_examples(each.replicates, of)) for each, of in ((a, ids), (b, ids_b)))
    names = names_of(thresholds)
    either = {name: row[1] + row[2] - row[3] for name, row in zip(names, selections, strict=True)}
    return Agreement(
        estimate=estimate,
        name_a=f"{a.source} ({a.basis})",
        name_b=f"{b.source} ({b.basis})",
        scores=scores,
        left_out=int((~valued).sum()),
        spearman=spearman(x, y),
        pearson=correlation(stats.pearsonr, x, y),
        mean_absolute_difference=float(np.abs(x - y).mean()),
        matched=shared.basis,
        selections=pd.DataFrame(selections, columns=list(SELECTION_COLUMNS)),
        errors=measure_errors(side_a, side_b, _measures(estimate, thresholds), either, confidence),
    )


def _measures(estimate: Estimate, thresholds: Sequence[float]) -> dict[str, Measure]:
    """By the name of their row in `errors`."""
    from scipy import stats

    by_threshold = {
        name: partial(measure, estimate, threshold)
        for kind, measure in (("jaccard", _jaccard), ("difference", _difference))
        for name, threshold in zip(names_of(thresholds, kind), thresholds, strict=True)
    }
    return {
        "spearman": spearman,
        "pearson": partial(correlation, stats.pearsonr),
        "mean_absolute_difference": lambda x, y: float(np.abs(x - y).mean()) if len(x) else math.nan,
        **by_threshold,
    }


def rounded(scores: Floats) -> Floats:
    """Scores of which those that are equal are so to the last bit."""
    return scores.round(_DECIMALS)


def correlation(coefficient: Callable[..., Any], x: Floats, y: Floats) -> float:
    """A correlation of SciPy's; NaN, and no warning, where one side does not vary.

    One that rounding alone sets apart from 1 or -1 is that.
    """
    x, y = rounded(x), rounded(y)
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    value = float(coefficient(x, y).statistic)
    return math.copysign(1.0, value) if 1 - abs(value) < 10.0**-_DECIMALS else value


def spearman(x: Floats, y: Floats) -> float:
    """`correlation` of Spearman's ranks."""
    from scipy import stats  # here: a third of a second to import

    return correlation(stats.spearmanr, x, y)


def _jaccard(estimate: Estimate, threshold: float, x: Floats, y: Floats) -> float:
    return _selection(x, y, estimate, threshold)[-1]


def _difference(estimate: Estimate, threshold: float, x: Floats, y: Floats) -> float:
    """The mean difference over the examples that either side selects; NaN of none."""
    a, b = _selected(x, y, estimate, threshold)
    either = a | b
    return float(np.abs(x[either] - y[either]).mean()) if either.any() else math.nan


def _selection(x: Floats, y: Floats, estimate: Estimate, threshold: float) -> tuple[float, int, int, int, float]:
    a, b = _selected(x, y, estimate, threshold)
    both, either = int((a & b).sum()), int((a | b).sum())
    return threshold, int(a.sum()), int(b.sum()), both, both / either if either else math.nan


def _selected(x: Floats, y: Floats, estimate: Estimate, threshold: float) -> tuple[Bools, Bools]:
    if not math.isfinite(threshold):
        raise EstimateError(f"threshold must be a finite number, got {threshold!r}")
    a, b = (values >= threshold if SELECTS[estimate] == ">=" else values <= threshold for values in (x, y))
    return a, b
