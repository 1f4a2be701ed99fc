"""Data of a report's explorer: columns of numbers as base64 (`orchestrator.report.encoding`), and sheets of images.

Learning histories are bytes in steps of 1/250, where 255 stands for none. Where the images of all examples would take
more than MAX_BYTES, or there are more than MAX_EXAMPLES, only the top of each list is there.
"""

from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from analysis.reading.sequences import At
from analysis.report import Findings
from analysis.report.history import learning_history
from analysis.report.influence_findings import FDR, TOP
from analysis.statistics.intervals import CONFIDENCE, normal_quantile
from orchestrator.report.encoding import as_base64, column, whole
from orchestrator.report.explorer_scores import (
    ExplorerCounts,
    ExplorerScores,
    encoded_counts,
    encoded_scores,
    test_counts,
    test_scores,
    train_counts,
    train_scores,
)
from orchestrator.report.inputs import Inputs
from orchestrator.report.localization import lost_examples
from orchestrator.report.pictures import COLUMNS, SHEET, Pictures
from workers.campaign.plural import count_text
from workers.common.arrays import Integers
from workers.common.splits import Split

MAX_BYTES = 24_000_000
"""Of base64 for all images."""
MAX_EXAMPLES = 150_000
MAX_NAME_BYTES = 6_000_000
"""Of the names of a split's examples, which are left out where there is more."""
FEATURE_DIGITS = 4
"""Decimal digits of a feature, of those of the largest one."""
BYTE_STEPS, NONE8 = 250, 255
HISTORY_BYTES = 4_500_000
"""Limit of all learning histories: epochs of long ones are left out, but at least MIN_EPOCHS stay."""
MIN_EPOCHS = 8


@dataclass(frozen=True)
class Explorer:
    """`data` goes into the page as JSON, `sheets` (name, base64 of a PNG) each by itself, to be read when shown."""

    data: dict[str, Any]
    sheets: list[tuple[str, str]] = field(default_factory=list)
    note: str = ""

    @property
    def named(self) -> bool:
        """Whether training examples have names."""
        return self.data["train"]["names"] is not None


def explorer_of(
    findings: Findings, inputs: Inputs, columns: tuple[ExplorerScores, ExplorerCounts] | None = None
) -> Explorer:
    """The explorer of a store's findings, with images or features where there are some.

    `columns` are scores and counts of the training examples in place of those of the findings.
    """
    pictures = inputs.pictures
    train, test = _explored(findings, pictures)
    labels = findings.labels
    data = {
        "classes": list(findings.store.header.class_names),
        "ratio": findings.ratio,
        "ratios": list(findings.ratios),
        "trained_at": None if findings.forgetting is None else float(findings.forgetting["ratio"].iloc[0]),
        "z": normal_quantile(CONFIDENCE),
        "image": None
        if pictures is None
        else {"width": pictures.width, "height": pictures.height, "columns": COLUMNS, "sheet": SHEET},
        "train": _train(findings, inputs, train, columns or (train_scores(findings), train_counts(findings))),
        "test": {
            "ids": whole(test),
            "label": whole(labels.test_label[test]),
            "names": _names(findings, "test", test),
            "features": _features(inputs, "test", test),
            "scores": encoded_scores(test_scores(findings), test),
            "counts": encoded_counts(test_counts(findings), test),
        },
        "top": _top(findings),
        "closest": TOP,
        "missing": findings.missing,
    }
    sheets = [] if pictures is None else [*_sheets(pictures, "train", train), *_sheets(pictures, "test", test)]
    complete = len(train) == labels.num_train and len(test) == labels.num_test
    note = (
        ""
        if complete
        else f"Of this large data set the top {len(train):,} training and {count_text(len(test), 'test example')}."
    )
    return Explorer(data, sheets, note)


def _train(
    findings: Findings, inputs: Inputs, ids: Integers, columns: tuple[ExplorerScores, ExplorerCounts]
) -> dict[str, Any]:
    labels, predictions = findings.labels, findings.predictions
    return {
        "ids": whole(ids),
        "label": whole(labels.label[ids]),
        "given": whole(labels.given_label[ids]),
        "predicted": None if predictions is None else whole(predictions.label[ids]),
        "names": _names(findings, "train", ids),
        "features": _features(inputs, "train", ids),
        "scores": encoded_scores(columns[0], ids),
        "counts": encoded_counts(columns[1], ids),
        "profile": None if findings.consistency is None else column(findings.consistency[:, ids].T),
        "held_out": None if findings.held_out is None else column(findings.held_out[:, ids].T, 1),
        "history": _histories(findings, ids),
    }


def _names(findings: Findings, split: Split, ids: Integers) -> list[str] | None:
    names = findings.store.names[0 if split == "train" else 1]
    if names is None or names.nbytes > MAX_NAME_BYTES:
        return None
    texts: list[str] = names.take(pa.array(ids)).to_pylist()
    return texts


def _features(inputs: Inputs, split: Split, ids: Integers) -> list[dict[str, Any]]:
    """The first features of examples without images, a column each."""
    features = inputs.features(split, ids)
    if features is None:
        return []
    largest = np.abs(features).max(axis=0, initial=0)
    steps = 10.0 ** (np.floor(np.log10(np.maximum(largest, 1e-30))) - FEATURE_DIGITS)
    return [column(values, step) for values, step in zip(features.T, steps.tolist(), strict=True)]


def _explored(findings: Findings, pictures: Pictures | None) -> tuple[Integers, Integers]:
    """The training and the test examples that there is room for, ascending."""
    counts = findings.labels.num_train, findings.labels.num_test
    room = MAX_EXAMPLES
    if pictures is not None:
        sample = np.linspace(0, counts[0] - 1, min(256, counts[0])).astype(np.int64)
        room = min(room, int(MAX_BYTES / (1.1 * len(pictures.sheet("train", sample)) / len(sample))))
    if sum(counts) <= room:
        return np.arange(counts[0]), np.arange(counts[1])
    tests = min(counts[1], room // 3)
    return _most(_interest(findings), room - tests), _most(_test_interest(findings), tests)


def _most(interest: npt.NDArray[np.float64], count: int) -> Integers:
    return np.sort(np.argsort(-interest, kind="stable")[:count])


def _interest(findings: Findings) -> npt.NDArray[np.float64]:
    """float64[N]: how near the top of any list a training example is."""
    best = np.zeros(findings.labels.num_train)
    values = [] if findings.mem is None else [findings.mem["mem"]]
    values += [] if findings.cscore is None else [-findings.cscore["cscore"]]
    for value in values:
        best = np.maximum(best, value.rank(pct=True).fillna(0).to_numpy())
    if findings.suspects is not None:
        ranks = 1 - findings.suspects["rank"].to_numpy() / len(best)
        best[findings.suspects["example_id"]] = np.maximum(best[findings.suspects["example_id"]], ranks)
    lost = pd.DataFrame() if findings.probed is None else lost_examples(findings.probed)
    if len(lost):
        ids, ranks = lost["example_id"].to_numpy(), 1 - np.arange(len(lost)) / len(best)
        best[ids] = np.maximum(best[ids], ranks)
    return best


def _test_interest(findings: Findings) -> npt.NDArray[np.float64]:
    best = np.full(findings.labels.num_test, -2.0)
    if findings.influence is not None:
        top = findings.influence.top
        np.maximum.at(best, top["test_example_id"].to_numpy(), top["infl"].to_numpy())
    return best


def _histories(findings: Findings, ids: Integers) -> list[dict[str, Any]]:
    """One for each kind of look at examples that the report has learning curves of."""
    if findings.learning is None:
        return []
    ratios = {str(at): float(rows["ratio"].iloc[0]) for at, rows in findings.learning.groupby("at", sort=False)}
    most = max(MIN_EPOCHS, HISTORY_BYTES // max(1, len(ids) * len(ratios)))
    histories = []
    for at, ratio in ratios.items():
        history = learning_history(findings.store, cast(At, at), ratio, ids, most)
        scaled = np.where(np.isnan(history.share), NONE8, np.nan_to_num(history.share) * BYTE_STEPS)
        shares = as_base64(scaled.round().astype("u1"))
        entry = {"at": at, "ratio": ratio, "epochs": history.epochs.tolist()}
        histories.append({**entry, "share": shares, "runs": whole(history.runs)})
    return histories


def _top(findings: Findings) -> dict[str, Any] | None:
    """Every row of the strongest pairs; `discovery` is null where pairs were not tested."""
    influence = findings.influence
    if influence is None:
        return None
    keys = ["test_example_id", "example_id"]
    pairs = {name: whole(influence.top[name].to_numpy()) for name in keys}
    columns = {name: column(influence.top[name].to_numpy()) for name in ("infl", "low", "high")}
    discovery = None
    if influence.helpful is not None:
        discovered = pd.MultiIndex.from_frame(influence.helpful[keys])
        discovery = as_base64(pd.MultiIndex.from_frame(influence.top[keys]).isin(discovered).astype("u1"))
    return {**pairs, **columns, "discovery": discovery, "fdr": FDR}


def _sheets(pictures: Pictures, split: Split, ids: Integers) -> list[tuple[str, str]]:
    return [
        (f"{split}-{start // SHEET}", pictures.sheet(split, ids[start : start + SHEET]))
        for start in range(0, len(ids), SHEET)
    ]
