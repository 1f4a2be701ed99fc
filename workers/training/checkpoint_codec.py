"""Encodes checkpoints as safetensors, which cannot run code, with a JSON document as one of the tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save

from workers.campaign.field_types import Frozen
from workers.campaign.keys import Run
from workers.store import EpochRecord
from workers.store.output_columns import OUTPUT_COLUMNS
from workers.store.probe_columns import ProbeColumn
from workers.store.schema import PRESENTED, PRESENTED_VALUES
from workers.training.loop import StackProgress
from workers.training.presentations import Presented
from workers.training.trainer_state import TrainerState

_DOCUMENT = "document"
_STATE = "state."
_ROWS = "rows."
_WAITING = "waiting."
_PROBED = "probed."
_Count = Annotated[int, Field(ge=0, lt=2**53)]
_Word = Annotated[int, Field(ge=0, lt=2**32)]
_Wide = Annotated[int, Field(ge=0, lt=2**128)]


class _Position(Frozen):
    state: _Wide
    inc: _Wide


class _Generator(Frozen):
    """NumPy's `PCG64.state`."""

    bit_generator: Literal["PCG64"]
    state: _Position
    has_uint32: Annotated[int, Field(ge=0, le=1)]
    uinteger: _Word


class _Streams(Frozen):
    order: _Generator
    augmentation: _Generator


class _Stack(Frozen):
    parts: _Count
    """The ratio in parts per million, under the name that checkpoints have for it."""
    repetitions: tuple[_Count, ...]
    epoch: Annotated[int, Field(ge=1, le=100_000)]
    diverged: tuple[bool, ...]
    seconds: Annotated[float, Field(ge=0)]
    measured: _Count = 0


class _Trainer(Frozen):
    step: _Count
    streams: tuple[_Streams, ...]


class _Document(Frozen):
    conditions: dict[str, str]
    stacks: tuple[_Stack, ...]
    trainer: _Trainer | None


@dataclass(frozen=True)
class CheckpointState:
    """A shard in training. `state` is that of the last stack, where that is not done; those before it are."""

    conditions: dict[str, str]
    """What must be the same where it is read, for the same bits to come out."""
    stacks: Sequence[StackProgress]
    state: TrainerState | None


def encode(saved: CheckpointState) -> bytes:
    """The bytes of a checkpoint. Raises ValueError where a tensor has a form that safetensors does not know."""
    document = _Document(
        conditions=saved.conditions,
        stacks=tuple(
            _Stack(
                parts=stack.runs[0].ratio_ppm,
                repetitions=tuple(run.repetition for run in stack.runs),
                epoch=stack.epoch,
                diverged=tuple(stack.diverged),
                seconds=stack.seconds,
                measured=stack.measured,
            )
            for stack in saved.stacks
        ),
        trainer=None if saved.state is None else _trainer(saved.state),
    )
    own = {} if saved.state is None else saved.state.tensors
    try:
        # Copies, because safetensors refuses tensors that share memory or are not contiguous.
        copies = {_STATE + name: tensor.to("cpu", copy=True).contiguous() for name, tensor in own.items()}
        tensors = copies | _rows(saved.stacks) | _waiting(saved.stacks) | _probed(saved.stacks)
        tensors[_DOCUMENT] = torch.frombuffer(bytearray(document.model_dump_json().encode()), dtype=torch.uint8)
        return save(tensors)
    except (SafetensorError, KeyError, RuntimeError) as error:
        raise ValueError(f"cannot be written as safetensors: {_first_line(error)}") from error


def decode(content: bytes, num_train: int, num_test: int, probe_columns: Sequence[ProbeColumn] = ()) -> CheckpointState:
    """The checkpoint that `encode` wrote, tensors on the CPU. Raises ValueError where the bytes are none."""
    try:
        tensors = load(content)
        document = _Document.model_validate_json(_array(tensors, _DOCUMENT, np.uint8).tobytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except (SafetensorError, KeyError, TypeError, RuntimeError, OverflowError) as error:
        raise ValueError(f"is not a checkpoint: {_first_line(error)}") from error
    records = _records(tensors, num_train, num_test)
    waiting = _presented(tensors, num_train)
    probed = _probe_values(tensors, probe_columns)
    stacks = []
    for stack in document.stacks:
        if len(stack.diverged) != len(stack.repetitions):
            raise ValueError("stacks.diverged: must be as many as repetitions")
        runs = [Run(stack.parts, repetition) for repetition in stack.repetitions]
        of_runs = [records.get(run.repetition, []) for run in runs]
        presented = [waiting.get(run.repetition, []) for run in runs]
        values = [probed.get(run.repetition, {}) for run in runs]
        stacks.append(
            StackProgress(
                runs, stack.epoch, of_runs, list(stack.diverged), stack.seconds, presented, values, stack.measured
            )
        )
    if document.trainer is None:
        return CheckpointState(document.conditions, stacks, None)
    own = {name.removeprefix(_STATE): tensor for name, tensor in tensors.items() if name.startswith(_STATE)}
    streams = [stream.model_dump() for stream in document.trainer.streams]
    return CheckpointState(document.conditions, stacks, TrainerState(own, document.trainer.step, streams))


def _trainer(state: TrainerState) -> _Trainer:
    return _Trainer(step=state.step, streams=tuple(_Streams.model_validate(stream) for stream in state.streams))


def _rows(stacks: Sequence[StackProgress]) -> dict[str, torch.Tensor]:
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
    columns |= _packed([record.presentations for _, record in rows])
    return {_ROWS + name: torch.from_numpy(column) for name, column in columns.items()}


def _waiting(stacks: Sequence[StackProgress]) -> dict[str, torch.Tensor]:
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


def _probed(stacks: Sequence[StackProgress]) -> dict[str, torch.Tensor]:
    """What probes measured so far, a row per run that is measured."""
    rows = [
        (run.repetition, values)
        for stack in stacks
        for run, values in zip(stack.runs, stack.probed, strict=True)
        if values
    ]
    if not rows:
        return {}
    columns = {name: np.stack([values[name] for _, values in rows]) for name in rows[0][1]}
    columns["repetition"] = np.array([repetition for repetition, _ in rows], np.int64)
    return {_PROBED + name: torch.from_numpy(column) for name, column in columns.items()}


def _probe_values(
    tensors: dict[str, torch.Tensor], columns: Sequence[ProbeColumn]
) -> dict[int, dict[str, npt.NDArray[Any]]]:
    """The same by repetition."""
    if not any(name.startswith(_PROBED) for name in tensors):
        return {}
    repetitions = _array(tensors, _PROBED + "repetition", np.int64).tolist()
    values = {
        column.name: _array(
            tensors, _PROBED + column.name, np.dtype(column.dtype).type, (len(repetitions), *column.shape)
        )
        for column in columns
    }
    return {repetition: {name: value[i] for name, value in values.items()} for i, repetition in enumerate(repetitions)}


def _packed(presented: Sequence[Presented]) -> dict[str, npt.NDArray[Any]]:
    """Vectors of presentations by column, one after the other; correctness as packed bits."""
    stacked = {name: np.stack([each[name] for each in presented]) for name in presented[0]}
    return {name: np.packbits(each, axis=-1) if each.dtype == bool else each for name, each in stacked.items()}


def _records(tensors: dict[str, torch.Tensor], num_train: int, num_test: int) -> dict[int, list[EpochRecord]]:
    """The rows, by repetition."""
    records: dict[int, list[EpochRecord]] = {}
    if not any(name.startswith(_ROWS) for name in tensors):
        return records
    repetitions = _array(tensors, _ROWS + "repetition", np.int64)
    count = len(repetitions)
    epochs = _array(tensors, _ROWS + "epoch", np.int64, (count,))
    losses = _array(tensors, _ROWS + "train_loss", np.float64, (count,))
    train, test = (
        np.unpackbits(_array(tensors, _ROWS + name, np.uint8, (count, -(-width // 8))), axis=1, count=width) == 1
        for name, width in (("train_correct", num_train), ("test_correct", num_test))
    )
    outputs = {
        column.name: _array(
            tensors,
            _ROWS + column.name,
            column.arrow_type.to_pandas_dtype(),
            (count, num_train if column.split == "train" else num_test),
        )
        for column in OUTPUT_COLUMNS
        if _ROWS + column.name in tensors
    }
    held = tensors.get(_ROWS + PRESENTED[0])
    slots = held.shape[1] if held is not None and held.ndim == 3 else 0
    presentations = _unpacked(tensors, _ROWS, (count, slots), num_train)
    for i, repetition in enumerate(repetitions.tolist()):
        presented = {name: values[i] for name, values in presentations.items()}
        recorded = {name: values[i] for name, values in outputs.items()}
        record = EpochRecord(int(epochs[i]), train[i], test[i], float(losses[i]), recorded, presented)
        records.setdefault(repetition, []).append(record)
    return records


def _presented(tensors: dict[str, torch.Tensor], num_train: int) -> dict[int, list[Presented]]:
    """The presentations that no row has yet, by repetition."""
    presented: dict[int, list[Presented]] = {}
    if not any(name.startswith(_WAITING) for name in tensors):
        return presented
    repetitions = _array(tensors, _WAITING + "repetition", np.int64).tolist()
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
            unpacked[name] = _array(tensors, prefix + name, np.float16, (*shape, num_train))
        else:
            packed = _array(tensors, prefix + name, np.uint8, (*shape, -(-num_train // 8)))
            unpacked[name] = np.unpackbits(packed, axis=-1, count=num_train) == 1
    return unpacked


def _array(
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


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
