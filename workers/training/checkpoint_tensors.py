"""What the runs of a checkpoint have come to, as tensors by name: rows, waiting presentations, probes, sums."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from workers.store import EpochRecord
from workers.store.output_columns import OUTPUT_COLUMNS
from workers.store.probe_columns import ProbeColumn
from workers.store.schema import PRESENTED, PRESENTED_VALUES
from workers.store.training_statistics import TRAINING_STATISTICS, TrainingSums
from workers.training.loop import StackProgress
from workers.training.presentations import Presented

_ROWS = "rows."
_WAITING = "waiting."
_PROBED = "probed."
_SUMS = "sums."


def progress_tensors(stacks: Sequence[StackProgress]) -> dict[str, torch.Tensor]:
    """Everything that the runs of these stacks recorded so far."""
    return {
        **_row_tensors(stacks),
        **_waiting_tensors(stacks),
        **_of_runs(_PROBED, stacks, lambda stack: stack.probed),
        **_of_runs(_SUMS, stacks, lambda stack: [each.sums for each in stack.sums]),
    }


def _row_tensors(stacks: Sequence[StackProgress]) -> dict[str, torch.Tensor]:
    """Everything recorded so far, a row per run and epoch; correctness as packed bits."""
    rows = [
        (run.repetition, record)
        for stack in stacks
        for run, records in zip(stack.runs, stack.records, strict=True)
        for record in records
    ]
    if not rows:
        return {}
    columns: dict[str, npt.NDArray[Any]] = {
        "repetition": np.array([repetition for repetition, _ in rows], np.int64),
        "epoch": np.array([record.epoch for _, record in rows], np.int64),
        "train_loss": np.array([record.train_loss for _, record in rows], np.float64),
        "train_correct": np.packbits([record.train_correct for _, record in rows], axis=1),
        "test_correct": np.packbits([record.test_correct for _, record in rows], axis=1),
    }
    columns |= {name: np.stack([record.outputs[name] for _, record in rows]) for name in rows[0][1].outputs}
    columns |= {name: np.stack([record.statistics[name] for _, record in rows]) for name in rows[0][1].statistics}
    columns |= _packed([record.presentations for _, record in rows])
    return {_ROWS + name: torch.from_numpy(column) for name, column in columns.items()}


def _waiting_tensors(stacks: Sequence[StackProgress]) -> dict[str, torch.Tensor]:
    """The presentations that no row has yet, an epoch of a run each, in their order."""
    epochs = [
        (run.repetition, epoch)
        for stack in stacks
        for run, presented in zip(stack.runs, stack.presented, strict=True)
        for epoch in presented
    ]
    if not epochs:
        return {}
    columns = _packed([epoch for _, epoch in epochs])
    columns["repetition"] = np.array([repetition for repetition, _ in epochs], np.int64)
    return {_WAITING + name: torch.from_numpy(column) for name, column in columns.items()}


def _of_runs(
    prefix: str, stacks: Sequence[StackProgress], values: Callable[[StackProgress], Sequence[dict[str, Any]]]
) -> dict[str, torch.Tensor]:
    """Vectors that a run has one of, by name: a row per run that has them."""
    rows = [
        (run.repetition, of_run)
        for stack in stacks
        for run, of_run in zip(stack.runs, values(stack) or [{}] * len(stack.runs), strict=True)
        if of_run
    ]
    if not rows:
        return {}
    columns: dict[str, npt.NDArray[Any]] = {name: np.stack([of_run[name] for _, of_run in rows]) for name in rows[0][1]}
    columns["repetition"] = np.array([repetition for repetition, _ in rows], np.int64)
    return {prefix + name: torch.from_numpy(column) for name, column in columns.items()}


def training_sums_of(tensors: dict[str, torch.Tensor], num_train: int) -> dict[int, TrainingSums]:
    """The training statistics so far, by repetition."""
    if not any(name.startswith(_SUMS) for name in tensors):
        return {}
    repetitions = array_of(tensors, _SUMS + "repetition", np.int64).tolist()
    names = TrainingSums.zero(0).sums
    columns = {name: array_of(tensors, _SUMS + name, np.float64, (len(repetitions), num_train)) for name in names}
    return {
        repetition: TrainingSums({name: column[i].copy() for name, column in columns.items()})
        for i, repetition in enumerate(repetitions)
    }


def probe_values_of(
    tensors: dict[str, torch.Tensor], columns: Sequence[ProbeColumn]
) -> dict[int, dict[str, npt.NDArray[Any]]]:
    """What probes measured so far, by repetition."""
    if not any(name.startswith(_PROBED) for name in tensors):
        return {}
    repetitions = array_of(tensors, _PROBED + "repetition", np.int64).tolist()
    values = {
        column.name: array_of(
            tensors, _PROBED + column.name, np.dtype(column.dtype).type, (len(repetitions), *column.shape)
        )
        for column in columns
    }
    return {repetition: {name: value[i] for name, value in values.items()} for i, repetition in enumerate(repetitions)}


def _packed(presented: Sequence[Presented]) -> dict[str, npt.NDArray[Any]]:
    """Vectors of presentations by column, one after the other; correctness as packed bits."""
    stacked = {name: np.stack([each[name] for each in presented]) for name in presented[0]}
    return {name: np.packbits(each, axis=-1) if each.dtype == bool else each for name, each in stacked.items()}


def records_of(tensors: dict[str, torch.Tensor], num_train: int, num_test: int) -> dict[int, list[EpochRecord]]:
    """The rows, by repetition."""
    records: dict[int, list[EpochRecord]] = {}
    if not any(name.startswith(_ROWS) for name in tensors):
        return records
    repetitions = array_of(tensors, _ROWS + "repetition", np.int64)
    count = len(repetitions)
    epochs = array_of(tensors, _ROWS + "epoch", np.int64, (count,))
    losses = array_of(tensors, _ROWS + "train_loss", np.float64, (count,))
    train, test = (
        np.unpackbits(array_of(tensors, _ROWS + name, np.uint8, (count, -(-width // 8))), axis=1, count=width) == 1
        for name, width in (("train_correct", num_train), ("test_correct", num_test))
    )
    outputs = {
        column.name: array_of(
            tensors,
            _ROWS + column.name,
            column.arrow_type.to_pandas_dtype(),
            (count, num_train if column.split == "train" else num_test),
        )
        for column in OUTPUT_COLUMNS
        if _ROWS + column.name in tensors
    }
    statistics = {
        name: array_of(tensors, _ROWS + name, np.float32, (count, num_train))
        for name in TRAINING_STATISTICS
        if _ROWS + name in tensors
    }
    held = tensors.get(_ROWS + PRESENTED[0])
    slots = held.shape[1] if held is not None and held.ndim == 3 else 0
    presentations = _unpacked(tensors, _ROWS, (count, slots), num_train)
    for i, repetition in enumerate(repetitions.tolist()):
        presented = {name: values[i] for name, values in presentations.items()}
        recorded = {name: values[i] for name, values in outputs.items()}
        summed = {name: values[i] for name, values in statistics.items()}
        record = EpochRecord(int(epochs[i]), train[i], test[i], float(losses[i]), recorded, presented, summed)
        records.setdefault(repetition, []).append(record)
    return records


def waiting_of(tensors: dict[str, torch.Tensor], num_train: int) -> dict[int, list[Presented]]:
    """The presentations that no row has yet, by repetition."""
    presented: dict[int, list[Presented]] = {}
    if not any(name.startswith(_WAITING) for name in tensors):
        return presented
    repetitions = array_of(tensors, _WAITING + "repetition", np.int64).tolist()
    columns = _unpacked(tensors, _WAITING, (len(repetitions),), num_train)
    for i, repetition in enumerate(repetitions):
        presented.setdefault(repetition, []).append({name: values[i] for name, values in columns.items()})
    return presented


def _unpacked(
    tensors: dict[str, torch.Tensor], prefix: str, shape: tuple[int, ...], num_train: int
) -> dict[str, npt.NDArray[Any]]:
    """What `_packed` made: [*shape, N] by column."""
    unpacked: dict[str, npt.NDArray[Any]] = {}
    for name in (*PRESENTED, *PRESENTED_VALUES):
        if prefix + name not in tensors:
            continue
        if name in PRESENTED_VALUES:
            unpacked[name] = array_of(tensors, prefix + name, np.float16, (*shape, num_train))
        else:
            packed = array_of(tensors, prefix + name, np.uint8, (*shape, -(-num_train // 8)))
            unpacked[name] = np.unpackbits(packed, axis=-1, count=num_train) == 1
    return unpacked


def array_of(
    tensors: dict[str, torch.Tensor], name: str, kind: type[np.generic], shape: tuple[int, ...] | None = None
) -> npt.NDArray[Any]:
    """A tensor as an array of that type and shape; without one, of one dimension. Raises ValueError."""
    if name not in tensors:
        raise ValueError(f"{name} is missing")
    tensor = tensors[name]
    expected = tuple(tensor.shape[:1]) if shape is None else shape
    if tensor.dtype != getattr(torch, kind.__name__) or tuple(tensor.shape) != expected or tensor.ndim == 0:
        raise ValueError(f"{name} must be {kind.__name__}{list(expected)}, got {tensor.dtype}{list(tensor.shape)}")
    return tensor.numpy()
