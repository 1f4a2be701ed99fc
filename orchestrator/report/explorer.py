"""Data of a report's explorer: columns of numbers as base64, and sheets of images.

A column of values is `{"step", "wide", "values"}`: little-endian integers, each times `step`, the lowest standing for
none. They are int16, or int32 (`wide`) where a value would not fit; the step is 1/10,000 of shares and influences,
1/100 of epochs and events, 1 of counts, and grows tenfold until the largest value fits. What the list filters by is as
fine as int32 holds, so that a value that is nearly at a limit lies on its own side of it. Ids, labels and counts of
whole tables are int32. Learning histories are bytes in steps of 1/250, where 255 stands for none. Where the images of
all examples would take more than MAX_BYTES, or there are more than MAX_EXAMPLES, only the top of each list is there.
"""

import base64
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.reading.sequences import At
from analysis.report import Findings
from analysis.report.history import learning_history
from analysis.report.influence_findings import TOP
from analysis.statistics.intervals import CONFIDENCE, normal_quantile
from orchestrator.report.localization import lost_examples
from orchestrator.report.pictures import COLUMNS, SHEET, Pictures
from workers.campaign.plural import count_text
from workers.common.arrays import Integers
from workers.common.splits import Split

MAX_BYTES = 24_000_000
"""Of base64 for all images."""
MAX_EXAMPLES = 150_000
STEP, COARSE_STEP = 1 / 10_000, 1 / 100
"""Of shares and influences; of epochs and events."""
FILTERED_STEP, FILTERED_COARSE_STEP = 1e-9, 1e-6
"""The same, of what the list filters by."""
NONE16, NONE32 = -(2**15), -(2**31)
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


def explorer_of(findings: Findings, pictures: Pictures | None) -> Explorer:
    """The explorer of a store's findings, with images where there are some."""
    train, test = _explored(findings, pictures)
    labels = findings.labels
    data = {
        "classes": list(findings.store.header.class_names),
        "ratio": findings.ratio,
        "ratios": list(findings.ratios),
        "z": normal_quantile(CONFIDENCE),
        "image": None
        if pictures is None
        else {"width": pictures.width, "height": pictures.height, "columns": COLUMNS, "sheet": SHEET},
        "train": {
            "ids": _whole(train),
            "label": _whole(labels.label[train]),
            "given": _whole(labels.given_label[train]),
            "scores": _scores(findings, train),
            "whole": _counts(findings, train),
            "profile": None if findings.consistency is None else column(findings.consistency[:, train].T),
            "held_out": None if findings.held_out is None else column(findings.held_out[:, train].T, 1),
            "history": _histories(findings, train),
        },
        "test": {"ids": _whole(test), "label": _whole(labels.test_label[test]), "scores": _test_scores(findings, test)},
        "top": _top(findings),
        "closest": TOP,
        "missing": findings.missing,
        **_runs(findings),
    }
    sheets = [] if pictures is None else [*_sheets(pictures, "train", train), *_sheets(pictures, "test", test)]
    complete = len(train) == labels.num_train and len(test) == labels.num_test
    note = (
        ""
        if complete
        else f"Of this large data set the top {len(train):,} training and {count_text(len(test), 'test example')}."
    )
    return Explorer(data, sheets, note)


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
    if findings.top is not None:
        np.maximum.at(best, findings.top["test_example_id"].to_numpy(), findings.top["infl"].to_numpy())
    return best


def _scores(findings: Findings, ids: Integers) -> dict[str, Any]:
    encoded: dict[str, Any] = {}
    for name, frame in (("mem", findings.mem), ("cscore", findings.cscore)):
        if frame is not None:
            values = frame[name].to_numpy()
            encoded[name] = column(values[ids], FILTERED_STEP)
            for limit in ("low", "high"):
                limits = np.where(np.isnan(values), np.nan, frame[limit].to_numpy())
                encoded[f"{name}_{limit}"] = column(limits[ids])
    if findings.forgetting is not None:
        coarse = (FILTERED_COARSE_STEP, COARSE_STEP)
        for name, steps in (("forgetting", coarse), ("first_learned", coarse), ("accuracy", (FILTERED_STEP, STEP))):
            for each, step in ((name, steps[0]), (f"{name}_low", steps[1]), (f"{name}_high", steps[1])):
                encoded[each] = column(findings.forgetting[each].to_numpy().astype(float)[ids], step)
    return encoded


def _counts(findings: Findings, ids: Integers) -> dict[str, str]:
    columns: dict[str, Integers] = {}
    if findings.mem is not None:
        columns |= {name: findings.mem[name].to_numpy() for name in ("n_in", "n_out")}
    if findings.cscore is not None:
        columns["cscore_runs"] = findings.cscore["n_out"].to_numpy()
    if findings.forgetting is not None:
        columns |= {name: findings.forgetting[name].to_numpy() for name in ("n_runs", "n_learned")}
    if findings.suspects is not None:
        ranks = np.full(findings.labels.num_train, NONE32, dtype=np.int64)
        ranks[findings.suspects["example_id"]] = findings.suspects["rank"]
        columns["suspect"] = ranks
    return {name: _whole(values[ids]) for name, values in columns.items()}


def _runs(findings: Findings) -> dict[str, Any]:
    """What a test example's share of right runs is taken over, and the ratio of what is about training."""
    runs = 0 if findings.mem is None else int((findings.mem["n_in"] + findings.mem["n_out"]).max())
    return {
        "runs": runs,
        "trained_at": None if findings.forgetting is None else float(findings.forgetting["ratio"].iloc[0]),
    }


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
        shares = _base64(scaled.round().astype("u1"))
        entry = {"at": at, "ratio": ratio, "epochs": history.epochs.tolist()}
        histories.append({**entry, "share": shares, "runs": _whole(history.runs)})
    return histories


def _test_scores(findings: Findings, ids: Integers) -> dict[str, Any]:
    if findings.test is None or findings.top is None:
        return {}
    strongest = findings.top.drop_duplicates("test_example_id").set_index("test_example_id")["infl"]
    columns = {**findings.test.to_dict("series"), "infl": strongest.reindex(range(findings.labels.num_test))}
    steps = {"right": FILTERED_STEP, "infl": FILTERED_STEP}
    return {str(name): column(values.to_numpy()[ids], steps.get(str(name), STEP)) for name, values in columns.items()}


def _top(findings: Findings) -> dict[str, Any] | None:
    """Every row of `found.top`."""
    if findings.top is None:
        return None
    pairs = {name: _whole(findings.top[name].to_numpy()) for name in ("test_example_id", "example_id")}
    return {**pairs, **{name: column(findings.top[name].to_numpy()) for name in ("infl", "low", "high")}}


def _sheets(pictures: Pictures, split: Split, ids: Integers) -> list[tuple[str, str]]:
    return [
        (f"{split}-{start // SHEET}", pictures.sheet(split, ids[start : start + SHEET]))
        for start in range(0, len(ids), SHEET)
    ]


def column(values: npt.NDArray[np.number[Any]], step: float = STEP) -> dict[str, Any]:
    """Finite values, or NaN for none, in steps of `step`, or of ten times that, and so on, where they are too large.

    No value is cut: rounding alone changes it, by at most half a step.
    """
    plain = values.astype(np.float64)
    largest = float(np.nanmax(np.abs(plain))) if np.isfinite(plain).any() else 0.0
    while largest / step > -NONE32 - 2:
        step *= 10
    wide = largest / step > -NONE16 - 2
    none, kind = (NONE32, "<i4") if wide else (NONE16, "<i2")
    scaled = np.nan_to_num(plain / step).round()
    return {"step": step, "wide": wide, "values": _base64(np.where(np.isnan(plain), none, scaled).astype(kind))}


def _whole(values: npt.NDArray[np.integer[Any]]) -> str:
    return _base64(values.astype("<i4"))


def _base64(array: npt.NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
