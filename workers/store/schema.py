"""The Parquet schema of results: one row per run and recorded epoch, vectors as lists."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from workers.campaign.keys import Run
from workers.campaign.record import Record
from workers.errors import DamagedFileError
from workers.store.output_columns import OUTPUT_COLUMNS, output_columns
from workers.store.probe_columns import ARROW_TYPES, ProbeColumn
from workers.store.training_statistics import TRAINING_STATISTICS, statistic_columns

SCHEMA_VERSION = 1
Status = Literal["completed", "diverged"]
VECTORS = ("subset", "train_correct", "test_correct")
PRESENTED = ("presented", "presented_correct")
PROBABILITIES = ("presented_probability", "presented_max_probability", "presented_loss")
PRESENTED_MARGIN = "presented_margin"
PRESENTED_VALUES = (*PROBABILITIES, PRESENTED_MARGIN)
"""Vectors of presentations that hold numbers."""

MAX_FLOAT16 = 65_504.0
"""The largest finite float16. Margins and losses beyond are recorded as this: such a value says `at least`."""

_CHUNK = 1 << 27
"""Values of an Arrow array: its offsets are 32 bits."""


def _list_of(kind: pa.DataType) -> pa.DataType:
    return pa.list_(pa.field("element", kind, nullable=False))


_BITS = _list_of(pa.bool_())
_HALVES = _list_of(pa.float16())
_SINGLES = _list_of(pa.float32())


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

OPTIONAL: Mapping[str, pa.DataType] = {
    **{column.name: _list_of(column.arrow_type) for column in OUTPUT_COLUMNS},
    **dict.fromkeys(PRESENTED, _BITS),
    **dict.fromkeys(PRESENTED_VALUES, _HALVES),
    **dict.fromkeys(TRAINING_STATISTICS, _SINGLES),
}
"""Vectors that some campaigns record, in their order, NaN (a prediction: -1) where a logit is not finite, and
-MAX_FLOAT16 or MAX_FLOAT16 where a value is beyond that.

`presented` to `presented_margin` hold the row's epochs since the one recorded before, one after the other, N values
each: was the example shown (a recipe may drop an epoch's last minibatch), was it predicted right then. Where those
epochs are fewer than in other rows, the values behind them are those of an example that was not shown: false, NaN.
Training statistics are of all epochs up to the row's.
"""


def presentation_columns(record: Record) -> tuple[str, ...]:
    """The names of the vectors of presentations that a campaign records."""
    if not record.presentations:
        return ()
    probabilities = PROBABILITIES if record.probabilities else ()
    return (*PRESENTED, *probabilities, *([PRESENTED_MARGIN] if record.presented_margin else []))


def results_schema(record: Record, probes: Sequence[ProbeColumn] = ()) -> pa.Schema:
    """The columns of results: with those of probes behind the other vectors."""
    outputs = (column.name for column in output_columns(record))
    requested = [*outputs, *presentation_columns(record), *statistic_columns(record)]
    place = RESULTS.get_field_index("test_correct") + 1
    fields = list(RESULTS)
    vectors = [_required(name, OPTIONAL[name]) for name in requested]
    vectors += [_required(column.name, _list_of(ARROW_TYPES[column.dtype])) for column in probes]
    return pa.schema([*fields[:place], *vectors, *fields[place:]])


@dataclass(frozen=True)
class EpochRecord:
    """The correctness of one model after one epoch (epochs count from 1): bool[N], bool[T], mean minibatch loss.

    `outputs` are [N] or [T], and `presentations` [slots, N], by the name of their column, those that the campaign
    records.
    """

    epoch: int
    train_correct: npt.NDArray[np.bool_]
    test_correct: npt.NDArray[np.bool_]
    train_loss: float
    outputs: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    presentations: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    statistics: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    """float32[N] by column: see `workers.store.training_statistics`."""
    probes: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    """What probes measured, by column, in the shape that the column declares."""

    def vectors(self) -> dict[str, npt.NDArray[Any]]:
        """The vectors that are not None, by column."""
        correct = {"train_correct": self.train_correct, "test_correct": self.test_correct}
        return {**correct, **self.outputs, **self.presentations, **self.statistics, **self.probes}


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


@dataclass(frozen=True)
class Widths:
    """The numbers of values in the vectors of a row: N, T, slots x N, and what probes declare."""

    num_train: int
    num_test: int
    slots: int
    """Epochs of presentations in a row."""
    probes: Sequence[ProbeColumn] = ()

    def of(self, column: str) -> int:
        """The number of values in a row of one vector column."""
        return math.prod(self.shape(column))

    def shape(self, column: str) -> tuple[int, ...]:
        """The shape of one vector in memory: presentations are [slots, N]."""
        if column == "test_correct" or column in _OF_TEST:
            return (self.num_test,)
        if column in (*PRESENTED, *PRESENTED_VALUES):
            return (self.slots, self.num_train)
        probed = next((probe for probe in self.probes if probe.name == column), None)
        return (self.num_train,) if probed is None else probed.shape


def check_vectors(results: Sequence[RunResult], columns: pa.Schema, widths: Widths) -> None:
    """Raise ValueError where these results have not the vectors that the columns ask for, in their shape and type."""
    kinds = {column.name: column.type.value_type for column in columns if pa.types.is_list(column.type)}
    forms = {name: f"{_NUMPY[kind]}{list(widths.shape(name))}" for name, kind in kinds.items()}
    for result in results:
        for record in result.epochs:
            vectors = {"subset": result.subset, **record.vectors()}
            for name in (*forms, *vectors):
                actual, form = _kind(vectors.get(name)), forms.get(name, "None")
                if actual != form:
                    raise ValueError(f"{result.run.run_id}: {name} must be {form}, got {actual}")


_OF_TEST = {column.name for column in OUTPUT_COLUMNS if column.split == "test"}
_NUMPY = {pa.float16(): "float16", **{kind: name for name, kind in ARROW_TYPES.items()}}


def _kind(vector: npt.NDArray[Any] | None) -> str:
    return "None" if vector is None else f"{vector.dtype}{list(vector.shape)}"


def results_table(results: Sequence[RunResult], schema: pa.Schema) -> pa.Table:
    """The rows of a shard, in ascending repetition and epoch."""
    ordered = sorted(results, key=lambda result: result.run)
    rows = [(result, record) for result in ordered for record in result.epochs]
    columns = {
        "run_id": [result.run.run_id for result, _ in rows],
        "ratio": [result.run.ratio for result, _ in rows],
        "repetition": [result.run.repetition for result, _ in rows],
        "epoch": [record.epoch for _, record in rows],
        "is_final": [record is result.epochs[-1] for result, record in rows],
        "subset_accuracy": [_mean(record.train_correct[result.subset]) for result, record in rows],
        "heldout_accuracy": [_mean(record.train_correct[~result.subset]) for result, record in rows],
        "test_accuracy": [_mean(record.test_correct) for _, record in rows],
        "train_loss": [record.train_loss if np.isfinite(record.train_loss) else None for _, record in rows],
        "seconds": [result.seconds for result, _ in rows],
        "device": [result.device for result, _ in rows],
        "status": [result.status for result, _ in rows],
    }
    vectors = [{"subset": result.subset, **record.vectors()} for result, record in rows]
    for each in schema:
        if pa.types.is_list(each.type):
            columns[each.name] = _lists([of_row[each.name] for of_row in vectors], each.type)
    return pa.table(columns, schema=schema)


def _mean(values: npt.NDArray[np.bool_]) -> float | None:
    return float(values.mean()) if len(values) else None


def _lists(vectors: Sequence[npt.NDArray[Any]], kind: pa.DataType) -> pa.ChunkedArray:
    """A column of lists, one per vector, all of one size."""
    rows = max(1, _CHUNK // max(1, vectors[0].size)) if vectors else 1
    return pa.chunked_array(
        [_list_array(vectors[start : start + rows], kind) for start in range(0, len(vectors), rows)], kind
    )


def _list_array(vectors: Sequence[npt.NDArray[Any]], kind: pa.DataType) -> pa.ListArray:
    offsets = np.cumsum([0, *(vector.size for vector in vectors)], dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, pa.array(np.concatenate(vectors, axis=None)), type=kind)


def matrix(table: pa.Table, column: str, width: int) -> npt.NDArray[Any]:
    """A vector column as [rows, width]: bool; float16, int16 of predictions; a probe's own dtype.

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
    """Whether the accuracy columns, which the content hash does not cover, follow from bool[rows, N or T] vectors."""
    stored = [table[name].to_pylist() for name in ("subset_accuracy", "heldout_accuracy", "test_accuracy")]
    derived = (
        [_mean(right[inside]) for right, inside in zip(train_correct, subset, strict=True)],
        [_mean(right[~inside]) for right, inside in zip(train_correct, subset, strict=True)],
        [_mean(right) for right in test_correct],
    )
    return stored == list(derived)
