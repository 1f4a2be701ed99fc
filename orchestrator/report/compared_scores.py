"""Scores of two stores side by side, at the examples of the first: A's, B's, and their difference with its limits.

The limits of a difference are those of independent estimates from the limits of each (G. Zou and A. Donner,
"Construction of confidence limits about effect measures", Statistics in Medicine 27, 2008; of two proportions
Newcombe's method 10):

    low = d - sqrt((a - low_a)^2 + (high_b - b)^2)      high = d + sqrt((high_a - a)^2 + (b - low_b)^2)
"""

from dataclasses import replace

import numpy as np

from analysis.report import Findings
from analysis.scoring.matching import Matched
from orchestrator.report.explorer_scores import (
    ExplorerCounts,
    ExplorerScore,
    ExplorerScores,
    train_counts,
    train_scores,
)
from workers.common.arrays import Floats, Integers

_OF_B = "_b"


def compared_scores(a: Findings, b: Findings, matched: Matched) -> tuple[ExplorerScores, ExplorerCounts]:
    """A's and B's scores and their differences; NaN and 0 runs where B has no such example.

    The distance in the first score that both have stands first, so that a list begins with disagreements.
    """
    ours, theirs = train_scores(a), train_scores(b)
    placed = {key: _placed_score(score, matched, a.labels.num_train) for key, score in theirs.items()}
    shared = [key for key in ours if key in placed and ours[key].limits is not None]
    differences = {key: _difference(ours[key], placed[key]) for key in shared}
    scores: ExplorerScores = {f"{key}_apart": _distance(ours[key], differences[key]) for key in shared[:1]}
    for key in dict.fromkeys((*ours, *placed)):
        if key in ours:
            scores[key] = replace(ours[key], text=f"{ours[key].text}, A")
        if key in placed:
            scores[key + _OF_B] = placed[key]
        if key in differences:
            scores[f"{key}_difference"] = differences[key]
    counts = {key: (f"{text}, A", values) for key, (text, values) in train_counts(a).items()}
    for key, (text, values) in train_counts(b).items():
        counts[key + _OF_B] = f"{text}, B", _placed_counts(values, matched, a.labels.num_train)
    return scores, counts


def _difference(a: ExplorerScore, b: ExplorerScore) -> ExplorerScore:
    difference = a.values - b.values
    if a.limits is None or b.limits is None:
        return ExplorerScore(f"{a.text}, A − B", difference, steps=a.steps, digits=a.digits)
    (low_a, high_a), (low_b, high_b) = a.limits, b.limits
    low = difference - np.hypot(a.values - low_a, high_b - b.values)
    high = difference + np.hypot(high_a - a.values, b.values - low_b)
    return ExplorerScore(f"{a.text}, A − B", difference, (low, high), steps=a.steps, digits=a.digits)


def _distance(a: ExplorerScore, difference: ExplorerScore) -> ExplorerScore:
    text = f"{a.text}, distance of A and B"
    return ExplorerScore(text, np.abs(difference.values), steps=a.steps, digits=a.digits)


def _placed_score(score: ExplorerScore, matched: Matched, count: int) -> ExplorerScore:
    def placed(values: Floats) -> Floats:
        all_values = np.full(count, np.nan)
        all_values[matched.a] = values[matched.b]
        return all_values

    limits = None if score.limits is None else (placed(score.limits[0]), placed(score.limits[1]))
    runs = tuple(key + _OF_B for key in score.runs)
    return replace(score, text=f"{score.text}, B", values=placed(score.values), limits=limits, runs=runs)


def _placed_counts(values: Integers, matched: Matched, count: int) -> Integers:
    all_values = np.zeros(count, dtype=np.int64)
    all_values[matched.a] = values[matched.b]
    return all_values
