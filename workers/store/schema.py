"""The Parquet form of results: one row per run and recorded epoch, the vectors as lists."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from workers.errors import DamagedFileError
from workers.runs import Run

SCHEMA_VERSION = 1
Status = Literal["completed", "diverged"]
VECTORS = ("subset", "train_correct", "test_correct")
MARGIN = "test_margin"

_BITS = pa.list_(pa.field("element", pa.bool_(), nullable=False))
_HALVES = pa.list_(pa.field("element", pa.float16(), nullable=False))


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


RESULTS = pa.schema(
    [
        _required("run_id", pa.string()),
        _required("ratio", pa.float64()),
        _required("repetition", pa.int32()),
        _required("epoch", pa.int32()),
        _required("is_final", pa.bool_()),
        *(_required(name, _BITS) for name in VECTORS),
        pa.field("subset_accuracy", pa.float64()),
        pa.field("heldout_accuracy", pa.float64()),
        pa.field("test_accuracy", pa.float64()),
        pa.field("train_loss", pa.float64()),
        _required("seconds", pa.float64()),
        _required("device", pa.string()),
        _required("status", pa.string()),
    ]
)
"""Accuracies are null where they rest on no example; train_loss is null for an epoch whose loss is not finite."""

RESULTS_WITH_MARGINS = RESULTS.insert(RESULTS.get_field_index("test_correct") + 1, _required(MARGIN, _HALVES))
"""The columns of a store whose campaign records margins: NaN where a logit is not finite."""

EXAMPLES = pa.schema(
    [("split", pa.string()), ("example_id", pa.int64()), ("label", pa.int64()), ("given_label", pa.int64())]
)

EXAMPLES_WITH_SCORES = EXAMPLES.append(pa.field("score", pa.float64()))
"""The columns of a store whose subsets are explicit: null for test examples."""


@dataclass(frozen=True)
class EpochRecord:
    """What one model got right after one epoch (epochs count from 1): bool[N], bool[T], mean minibatch loss.

    `test_margin` is float16[T] where the campaign records it.
    """

    epoch: int
    train_correct: npt.NDArray[np.bool_]
    test_correct: npt.NDArray[np.bool_]
    train_loss: float
    test_margin: npt.NDArray[np.float16] | None = None


@dataclass(frozen=True)
class RunResult:
    """A trained run: its subset (bool[N]) and its recorded epochs, ascending.

    `seconds` is training and evaluation, NaN where that is not known.
    """

    run: Run
    subset: npt.NDArray[np.bool_]
    epochs: Sequence[EpochRecord]
    status: Status
    seconds: float
    device: str


def examples_table(
    label: npt.NDArray[np.int64],
    given_label: npt.NDArray[np.int64],
    test_label: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float64] | None = None,
) -> pa.Table:
    """split, example_id, label, given_label (each int64[N], int64[T]): N + T rows in canonical order.

    With scores (float64[N]) a column `score`, null for test examples.
    """
    table = pa.table(
        {
            "split": pa.array(["train"] * len(label) + ["test"] * len(test_label)),
            "example_id": np.concatenate([np.arange(len(label)), np.arange(len(test_label))]),
            "label": np.concatenate([label, test_label]),
            "given_label": np.concatenate([given_label, test_label]),
        }
    )
    if scores is None:
        return table
    of_tests = pa.nulls(len(test_label), pa.float64())
    return table.append_column("score", pa.chunked_array([pa.array(scores), of_tests]).combine_chunks())


def check_vectors(results: Sequence[RunResult], num_train: int, num_test: int, margins: bool) -> None:
    """Raise ValueError where a vector of these results is not bool[num_train], or bool[num_test] for test_correct.

    Margins must be float16[num_test] where they are recorded, and absent elsewhere.
    """
    for result in results:
        vectors = [("subset", result.subset, num_train)]
        for record in result.epochs:
            vectors += [("train_correct", record.train_correct, num_train)]
            vectors += [("test_correct", record.test_correct, num_test)]
        for name, vector, width in vectors:
            if vector.shape != (width,) or vector.dtype != bool:
                raise ValueError(f"{result.run.run_id}: {name} must be bool[{width}], got {_kind(vector)}")
        kind = f"float16[{num_test}]" if margins else "None"
        for given in (_kind(record.test_margin) for record in result.epochs):
            if given != kind:
                raise ValueError(f"{result.run.run_id}: {MARGIN} must be {kind}, got {given}")


def _kind(vector: npt.NDArray[Any] | None) -> str:
    return "None" if vector is None else f"{vector.dtype}{list(vector.shape)}"


def results_table(results: Sequence[RunResult]) -> pa.Table:
    """The rows of a shard, in ascending repetition and epoch."""
    ordered = sorted(results, key=lambda result: result.run)
    rows = [(result, record) for result in ordered for record in result.epochs]
    columns = {
        "run_id": [result.run.run_id for result, _ in rows],
        "ratio": [result.run.ratio for result, _ in rows],
        "repetition": [result.run.repetition for result, _ in rows],
        "epoch": [record.epoch for _, record in rows],
        "is_final": [record is result.epochs[-1] for result, record in rows],
        "subset": _lists([result.subset for result, _ in rows], _BITS),
        "train_correct": _lists([record.train_correct for _, record in rows], _BITS),
        "test_correct": _lists([record.test_correct for _, record in rows], _BITS),
        "subset_accuracy": [_mean(record.train_correct[result.subset]) for result, record in rows],
        "heldout_accuracy": [_mean(record.train_correct[~result.subset]) for result, record in rows],
        "test_accuracy": [_mean(record.test_correct) for _, record in rows],
        "train_loss": [record.train_loss if np.isfinite(record.train_loss) else None for _, record in rows],
        "seconds": [result.seconds for result, _ in rows],
        "device": [result.device for result, _ in rows],
        "status": [result.status for result, _ in rows],
    }
    margins = [record.test_margin for _, record in rows if record.test_margin is not None]
    if not margins:
        return pa.table(columns, schema=RESULTS)
    return pa.table({**columns, MARGIN: _lists(margins, _HALVES)}, schema=RESULTS_WITH_MARGINS)


def _mean(values: npt.NDArray[np.bool_]) -> float | None:
    return float(values.mean()) if len(values) else None


def _lists(vectors: Sequence[npt.NDArray[Any]], kind: pa.DataType) -> pa.ListArray:
    """Array of lists, one per vector."""
    offsets = np.cumsum([0, *(len(vector) for vector in vectors)], dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, pa.array(np.concatenate(vectors)), type=kind)


def matrix(table: pa.Table, column: str, width: int) -> npt.NDArray[Any]:
    """A vector column as bool[rows, width]; float16 for test_margin.

    Raises DamagedFileError where a row has another length.
    """
    lists = table[column].combine_chunks()
    lengths = np.diff(lists.offsets.to_numpy())
    if (lengths != width).any():
        raise DamagedFileError(
            f"column {column} has rows of {set(lengths.tolist()) - {width}} values, expected {width}"
        )
    flat = lists.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat).reshape(len(lists), width)


def consistent(
    table: pa.Table,
    subset: npt.NDArray[np.bool_],
    train_correct: npt.NDArray[np.bool_],
    test_correct: npt.NDArray[np.bool_],
) -> bool:
    """Do the accuracy columns, which the content hash does not cover, follow from the vectors (bool[rows, N or T])."""
    given = [table[name].to_pylist() for name in ("subset_accuracy", "heldout_accuracy", "test_accuracy")]
    derived = (
        [_mean(right[inside]) for right, inside in zip(train_correct, subset, strict=True)],
        [_mean(right[~inside]) for right, inside in zip(train_correct, subset, strict=True)],
        [_mean(right) for right in test_correct],
    )
    return given == list(derived)
