"""Scores of the explorer: what its list is sorted, filtered and plotted by, as findings have it."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.report import Findings
from orchestrator.report.encoding import COARSE_STEP, FILTERED_COARSE_STEP, FILTERED_STEP, STEP, column, whole
from workers.common.arrays import Floats, Integers

ScoreLimits = tuple[Floats, Floats]


@dataclass(frozen=True)
class ExplorerScore:
    """float64[n] `values` of the examples, NaN for none, and their lower and upper limits; `text` names the score.

    `runs` are keys of `ExplorerCounts`: the runs behind a value. `highest_first` is the order at the start.
    `steps` are those in which values and limits are written, `digits` are shown behind the point.
    """

    text: str
    values: Floats
    limits: ScoreLimits | None = None
    runs: tuple[str, ...] = ()
    highest_first: bool = True
    steps: tuple[float, float] = (FILTERED_STEP, STEP)
    digits: int = 2

    def encoded(self, key: str, ids: Integers) -> dict[str, Any]:
        """The score of some examples, for the page."""
        has_value = ~np.isnan(self.values)
        limits = {
            name: column(np.where(has_value, limit, np.nan)[ids], self.steps[1])
            for name, limit in zip(("low", "high"), self.limits or (), strict=False)
        }
        return {
            "key": key,
            "text": self.text,
            "order": 1 if self.highest_first else -1,
            "digits": self.digits,
            "runs": list(self.runs),
            "value": column(self.values[ids], self.steps[0]),
            **limits,
        }


ExplorerScores = dict[str, ExplorerScore]
"""By key: the name of the score in addresses and files."""
ExplorerCounts = dict[str, tuple[str, Integers]]
"""int64[n] numbers of runs by key, each with what it counts."""


def encoded_scores(scores: ExplorerScores, ids: Integers) -> list[dict[str, Any]]:
    """The scores of some examples, for the page, in their order."""
    return [score.encoded(key, ids) for key, score in scores.items()]


def encoded_counts(counts: ExplorerCounts, ids: Integers) -> list[dict[str, Any]]:
    """The counts of some examples, for the page, in their order."""
    return [{"key": key, "text": text, "values": whole(values[ids])} for key, (text, values) in counts.items()]


def train_scores(findings: Findings) -> ExplorerScores:
    """The scores of the training examples that the findings have."""
    scores: ExplorerScores = {}
    if findings.mem is not None:
        scores["mem"] = _estimate(findings.mem, "mem", "memorization", ("n_in", "n_out"))
    if findings.cscore is not None:
        scores["cscore"] = replace(
            _estimate(findings.cscore, "cscore", "C-score", ("cscore_runs",)), highest_first=False
        )
    if findings.suspects is not None:
        ranks = np.full(findings.labels.num_train, np.nan)
        ranks[findings.suspects["example_id"]] = findings.suspects["rank"]
        scores["suspect"] = ExplorerScore("rank of suspicion", ranks, None, (), False, (1, 1), 0)
    if findings.vulnerability is not None:
        examples = findings.vulnerability.examples
        scores["vulnerability"] = _estimate(examples, "vulnerability", "vulnerability", ("n_in", "n_out"))
    if findings.predictions is not None:
        share = findings.predictions.share
        scores["predicted_share"] = ExplorerScore("share of the predicted class", share, None, ("predicted_runs",))
    if findings.forgetting is not None:
        scores |= _learning_scores(findings.forgetting)
    return scores


def _learning_scores(frame: pd.DataFrame) -> ExplorerScores:
    coarse = (FILTERED_COARSE_STEP, COARSE_STEP)
    first = _estimate(frame, "first_learned", "first learned in epoch", ("n_learned",))
    accuracy = _estimate(frame, "accuracy", "right while trained on", ("n_runs",))
    return {
        "forgetting": replace(_estimate(frame, "forgetting", "forgetting events/run", ("n_runs",)), steps=coarse),
        "first_learned": replace(first, steps=coarse),
        "accuracy": replace(accuracy, highest_first=False),
    }


def _estimate(frame: pd.DataFrame, name: str, text: str, runs: tuple[str, ...]) -> ExplorerScore:
    """A column with its limits: NAME_low and NAME_high, or low and high where the frame is of one estimate."""
    prefix = f"{name}_" if f"{name}_low" in frame else ""
    values, low, high = (frame[key].to_numpy(dtype=float) for key in (name, f"{prefix}low", f"{prefix}high"))
    return ExplorerScore(text, values, (low, high), runs)


def train_counts(findings: Findings) -> ExplorerCounts:
    """The numbers of runs behind the scores of the training examples."""
    counts: ExplorerCounts = {}
    if findings.mem is not None:
        counts["n_in"] = "runs trained on it", findings.mem["n_in"].to_numpy()
        counts["n_out"] = "runs without it", findings.mem["n_out"].to_numpy()
    if findings.cscore is not None:
        counts["cscore_runs"] = "runs without it, all ratios", findings.cscore["n_out"].to_numpy()
    if findings.predictions is not None:
        counts["predicted_runs"] = "runs that predict it held out", findings.predictions.runs
    if findings.forgetting is not None:
        counts["n_runs"] = "runs that showed it", findings.forgetting["n_runs"].to_numpy()
        counts["n_learned"] = "runs that learned it", findings.forgetting["n_learned"].to_numpy()
    return counts


def test_scores(findings: Findings) -> ExplorerScores:
    """The scores of the test examples that the findings have."""
    if findings.influence is None:
        return {}
    num_test, test = findings.labels.num_test, findings.influence.test
    strongest = findings.influence.top.drop_duplicates("test_example_id").set_index("test_example_id")["infl"]
    limits = test["low"].to_numpy(), test["high"].to_numpy()
    return {
        "infl": ExplorerScore("strongest influence on it", strongest.reindex(range(num_test)).to_numpy()),
        "right": ExplorerScore("share of runs right", test["right"].to_numpy(), limits, ("runs",), highest_first=False),
    }


def test_counts(findings: Findings) -> ExplorerCounts:
    """The number of runs at the ratio of memorization and influence: the same for every test example."""
    if findings.mem is None or findings.influence is None:
        return {}
    runs = int((findings.mem["n_in"] + findings.mem["n_out"]).max())
    return {"runs": ("runs", np.full(findings.labels.num_test, runs))}
