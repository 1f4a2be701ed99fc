"""Detection of known noise: how well each score ranks examples whose given label is wrong, or whose pixels are noisy.

A model that never saw a mislabelled example predicts its true label, so it counts as wrong: its C-score is low. One
that is trained on it learns it late, memorizes it, and forgets it, so that accuracy and probability over its
presentations are low. Memorization is high where models fit wrong labels in the end; where training stops before, it
finds nothing. See `analysis.statistics.detection` for the measures and their papers, `analysis.scoring.example_scores`
for the scores.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.reading.examples import Labels
from analysis.scoring.example_scores import ExampleScore, StoreScores
from analysis.statistics.detection import area_interval, area_under_curve, average_precision, curve_points, precision_at
from analysis.statistics.intervals import CONFIDENCE, check_confidence
from analysis.statistics.jackknife import error_of
from analysis.statistics.run_means import student_quantile
from workers.common.arrays import Bools
from workers.errors import EstimateError

COLUMNS = (
    *("score", "ratio", "examples", "left_out", "noisy", "auc", "auc_se", "auc_se_runs", "low", "high", "over"),
    *("average_precision", "precision_at_noisy"),
)
CURVE_COLUMNS = ("score", "ratio", "threshold", "selected", "recall", "false_positive_rate", "precision")


def noise_detection(store_scores: StoreScores, *, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """One row per score and ratio (NaN where it belongs to none), with COLUMNS.

    The measures are over the `examples` with a value, of which `noisy` have a label that is not theirs; `left_out`
    have none. `auc` has DeLong's standard error and Newcombe's limits `low` and `high`, which are over examples, with
    the runs as they are; where scores come with replicates the runs' part is added (`auc_se_runs`, by the jackknife of
    `analysis.statistics.jackknife`), and limits lie sqrt(a^2 + b^2) from the AUC, a being Newcombe's distance and b
    Student's quantile times that part. `over` says what they include. `precision_at_noisy` is the share of noisy
    examples among the `noisy` most irregular ones. A measure is NaN where it is not defined: an `auc`
    needs noisy and clean examples. Raises EstimateError where no given label differs and for a bad `confidence`.
    """
    check_confidence(confidence)
    noisy = noisy_examples(store_scores.labels, store_scores.source)
    return pd.DataFrame([_measured(score, noisy, confidence) for score in store_scores.scores], columns=list(COLUMNS))


def noise_curves(store_scores: StoreScores) -> pd.DataFrame:
    """Points of each score's ROC and precision-recall curves, with CURVE_COLUMNS: see `analysis.statistics.detection`.

    `threshold` is the value of the least irregular example that it selects, so that a comparison with it selects the
    same ones; from the most irregular one on. Scores that have no AUC have no points. Raises EstimateError where no
    given label differs.
    """
    noisy = noisy_examples(store_scores.labels, store_scores.source)
    frames = [_points(score, noisy) for score in store_scores.scores]
    nonempty = [frame for frame in frames if len(frame)]
    return pd.concat(nonempty, ignore_index=True) if nonempty else pd.DataFrame(columns=list(CURVE_COLUMNS))


def noisy_examples(labels: Labels, source: str) -> Bools:
    """bool[N]: see `Labels.noisy`. Raises EstimateError, which names the source, where none is."""
    if not labels.noisy.any():
        raise EstimateError(
            f"{source}: has no noisy label, every given label is the data set's own (label_noise has no fraction "
            "and no file, image_noise no fraction); longtail suspects lists the labels that are most likely wrong"
        )
    return labels.noisy


def _valued(score: ExampleScore, noisy: Bools) -> tuple[npt.NDArray[np.float64], Bools]:
    some = ~np.isnan(score.values)
    return score.irregularity[some], noisy[some]


def _measured(score: ExampleScore, noisy: Bools, confidence: float) -> dict[str, object]:
    all_noisy = noisy
    irregularity, noisy = _valued(score, noisy)
    count = int(noisy.sum())
    auc, se = area_under_curve(irregularity, noisy)
    low, high = area_interval(auc, count, len(noisy) - count, confidence)
    replicates = score.irregular_replicates
    error = error_of(se, None if replicates is None else _replicated(score, replicates, all_noisy))
    if error.runs:
        reach = error.runs * float(student_quantile(confidence, error.groups - 1))
        low, high = max(auc - np.hypot(auc - low, reach), 0.0), min(auc + np.hypot(high - auc, reach), 1.0)
    return {
        "score": score.name,
        "ratio": score.ratio,
        "examples": len(noisy),
        "left_out": len(score.values) - len(noisy),
        "noisy": count,
        "auc": auc,
        "auc_se": error.se,
        "auc_se_runs": np.nan if error.runs is None else error.runs,
        "low": float(low),
        "high": float(high),
        "over": error.over,
        "average_precision": average_precision(irregularity, noisy),
        "precision_at_noisy": precision_at(irregularity, noisy, count),
    }


def _replicated(score: ExampleScore, replicates: npt.NDArray[np.float32], noisy: Bools) -> npt.NDArray[np.float64]:
    """The AUC without each group of runs, over the examples that have a value with all of them: float64[g]."""
    areas = []
    for values in replicates:
        some = ~np.isnan(score.values) & ~np.isnan(values)
        areas.append(area_under_curve(values[some].astype(np.float64), noisy[some])[0])
    return np.array(areas, dtype=np.float64)


def _points(score: ExampleScore, noisy: Bools) -> pd.DataFrame:
    values = score.values[~np.isnan(score.values)]
    irregularity, noisy = _valued(score, noisy)
    if noisy.all() or not noisy.any():
        return pd.DataFrame(columns=list(CURVE_COLUMNS))
    points = pd.DataFrame(curve_points(irregularity, noisy)).assign(score=score.name, ratio=score.ratio)
    # Irregularity is rounded, so that equal scores are equal; of those the one that all of them reach.
    ascending = np.lexsort((values if score.high_is_irregular else -values, irregularity))
    points["threshold"] = values[ascending][np.searchsorted(irregularity[ascending], points["threshold"])]
    return points[list(CURVE_COLUMNS)]
