"""Encodes checkpoints as safetensors, which cannot run code, with a JSON document as one of the tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save

from workers.campaign.field_types import Frozen
from workers.campaign.keys import Run
from workers.store.probe_columns import ProbeColumn
from workers.training.checkpoint_tensors import (
    array_of,
    probe_values_of,
    progress_tensors,
    records_of,
    training_sums_of,
    waiting_of,
)
from workers.training.loop import StackProgress
from workers.training.trainer_state import TrainerState

_DOCUMENT = "document"
_STATE = "state."
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
        tensors = copies | progress_tensors(saved.stacks)
        tensors[_DOCUMENT] = torch.frombuffer(bytearray(document.model_dump_json().encode()), dtype=torch.uint8)
        return save(tensors)
    except (SafetensorError, KeyError, RuntimeError) as error:
        raise ValueError(f"cannot be written as safetensors: {_first_line(error)}") from error


def decode(content: bytes, num_train: int, num_test: int, probe_columns: Sequence[ProbeColumn] = ()) -> CheckpointState:
    """The checkpoint that `encode` wrote, tensors on the CPU. Raises ValueError where the bytes are none."""
    try:
        tensors = load(content)
        document = _Document.model_validate_json(array_of(tensors, _DOCUMENT, np.uint8).tobytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except (SafetensorError, KeyError, TypeError, RuntimeError, OverflowError) as error:
        raise ValueError(f"is not a checkpoint: {_first_line(error)}") from error
    records = records_of(tensors, num_train, num_test)
    waiting = waiting_of(tensors, num_train)
    probed = probe_values_of(tensors, probe_columns)
    sums = training_sums_of(tensors, num_train)
    stacks = []
    for stack in document.stacks:
        if len(stack.diverged) != len(stack.repetitions):
            raise ValueError("stacks.diverged: must be as many as repetitions")
        runs = [Run(stack.parts, repetition) for repetition in stack.repetitions]
        of_runs = [records.get(run.repetition, []) for run in runs]
        presented = [waiting.get(run.repetition, []) for run in runs]
        values = [probed.get(run.repetition, {}) for run in runs]
        summed = [sums[run.repetition] for run in runs if run.repetition in sums]
        stacks.append(
            StackProgress(
                runs,
                stack.epoch,
                of_runs,
                list(stack.diverged),
                stack.seconds,
                presented,
                values,
                summed,
                stack.measured,
            )
        )
    if document.trainer is None:
        return CheckpointState(document.conditions, stacks, None)
    own = {name.removeprefix(_STATE): tensor for name, tensor in tensors.items() if name.startswith(_STATE)}
    streams = [stream.model_dump() for stream in document.trainer.streams]
    return CheckpointState(document.conditions, stacks, TrainerState(own, document.trainer.step, streams))


def _trainer(state: TrainerState) -> _Trainer:
    return _Trainer(step=state.step, streams=tuple(_Streams.model_validate(stream) for stream in state.streams))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
