"""Classes in a report: a table of all of them, and what held-out models predict for the examples of each."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.report import Findings
from analysis.scoring.groups import class_name
from orchestrator.report.campaign_text import number
from orchestrator.report.galleries import SUSPECTS
from orchestrator.report.verdict import IRREGULAR, MEMORIZED
from workers.common.arrays import Integers

MAX_CONFUSED = 20
"""Classes of which the whole confusion matrix is shown; of more, the MAX_CONFUSIONS most frequent confusions."""
MAX_CONFUSIONS = 40


@dataclass(frozen=True)
class Confusion:
    """Held-out predictions of class `predicted` for the examples labelled `label`: their number and their share.

    `examples` have it as their most frequent prediction; `address` shows them in the explorer.
    """

    label: int
    predicted: int
    predictions: int
    share: float
    examples: int

    @property
    def address(self) -> str:
        """A fragment of the page's address: the explorer's filter."""
        return f"label={self.label}&predicted={self.predicted}"

    @property
    def percent(self) -> str:
        """Its share of the label's predictions, in percent."""
        if not self.predictions:
            return ""
        return "<0.1" if self.share < 0.0005 else number(100 * self.share, 1)


@dataclass(frozen=True)
class ConfusionMatrix:
    """`rows` are the confusions of each label, `most` the most frequent wrong predictions, `names` the classes."""

    names: tuple[str, ...]
    rows: tuple[tuple[Confusion, ...], ...]
    most: tuple[Confusion, ...]


def class_rows(findings: Findings) -> list[dict[str, str | int]]:
    """One row for each given label: its name, examples, and means and counts as text, a dash where there is none."""
    frame = findings.labels.columns()
    if findings.mem is not None:
        mem, low = findings.mem["mem"], findings.mem["low"]
        right = findings.mem["p_out"] * findings.mem["n_out"]
        frame = frame.assign(mem=mem, memorized=(low > MEMORIZED) & mem.notna(), right=right, n=findings.mem["n_out"])
    if findings.cscore is not None:
        frame = frame.assign(cscore=findings.cscore["cscore"], irregular=findings.cscore["high"] < IRREGULAR)
    if findings.suspects is not None:
        frame = frame.assign(suspect=frame["example_id"].isin(findings.suspects["example_id"].head(SUSPECTS)))
    return [_class_row(findings, int(str(label)), rows) for label, rows in frame.groupby("given_label")]


def _class_row(findings: Findings, label: int, rows: pd.DataFrame) -> dict[str, str | int]:
    def mean(column: str) -> str:
        return number(rows[column].mean()) if column in rows else "–"

    def count(column: str) -> str:
        return f"{int(rows[column].sum()):,}" if column in rows else "–"

    held_out = 100 * rows["right"].sum() / rows["n"].sum() if "n" in rows and rows["n"].sum() else float("nan")
    return {
        "label": label,
        "name": class_name(findings.store, label),
        "examples": f"{len(rows):,}",
        "heldout_accuracy": number(held_out, 1),
        "mem": mean("mem"),
        "memorized": count("memorized"),
        "cscore": mean("cscore"),
        "irregular": count("irregular"),
        "suspects": count("suspect"),
    }


def confusion_matrix(findings: Findings) -> ConfusionMatrix | None:
    """Of the held-out predictions over all ratios; None where they are not recorded."""
    predictions = findings.predictions
    if predictions is None:
        return None
    given, classes = findings.labels.given_label, predictions.counts.shape[1]
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, given, predictions.counts)
    examples = np.zeros_like(counts)
    predicted = predictions.label
    np.add.at(examples, (given[predicted >= 0], predicted[predicted >= 0]), 1)
    wrong = np.where(np.eye(classes, dtype=bool), 0, counts)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MAX_CONFUSIONS]
    places = [divmod(int(place), classes) for place in order if wrong.flat[place]]
    rows: tuple[tuple[Confusion, ...], ...] = ()
    if classes <= MAX_CONFUSED:
        rows = tuple(
            tuple(_confusion(counts, examples, label, predicted) for predicted in range(classes))
            for label in range(classes)
        )
    names = tuple(class_name(findings.store, label) for label in range(classes))
    return ConfusionMatrix(names, rows, tuple(_confusion(counts, examples, *place) for place in places))


def _confusion(counts: Integers, examples: Integers, label: int, predicted: int) -> Confusion:
    number_of = int(counts[label, predicted])
    share = number_of / max(int(counts[label].sum()), 1)
    return Confusion(label, predicted, number_of, share, int(examples[label, predicted]))
