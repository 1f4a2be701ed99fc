"""Trains a case twice, and once more killed with SIGKILL in mid-run and resumed, and compares all bits."""

import hashlib
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.cases import EPOCHS, STACKS, STEPS, Case, made_images
from benchmarks.gpu.journal import Values
from orchestrator.campaigns.execution_plan import ExecutionPlan
from orchestrator.campaigns.preflight import make_header
from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run
from workers.store import RunResult
from workers.store.checkpoint_files import CheckpointFiles
from workers.store.files.local import LocalFiles
from workers.training import Checkpoints, Engine, ShardCheckpoints, training_conditions
from workers.training.device_data import DeviceData, load_on_device
from workers.training.engine import NO_CHECKPOINTS
from workers.training.loop import StackTraining, Trainer

KILLED_AT = (STACKS - 1) * EPOCHS * STEPS + (EPOCHS - 1) * STEPS + 2
"""The step at which a child is killed: in the midst of the last epoch of the last stack."""

_READY_SECONDS = 120


class Watch:
    """Checkpoints that also keep a digest of each stack's final state, and the epochs at which stacks were begun."""

    def __init__(self, inner: Checkpoints = NO_CHECKPOINTS) -> None:
        self.begun: list[int] = []
        self._inner = inner
        self._states: dict[Sequence[Any], str] = {}

    def resume(self, begin: Callable[[], StackTraining]) -> StackTraining:
        """See `Checkpoints.resume`."""
        training = self._inner.resume(begin)
        self.begun.append(training.progress.epoch)
        return training

    def on_epoch_end(self, training: StackTraining) -> None:
        """See `Checkpoints.on_epoch_end`."""
        self._inner.on_epoch_end(training)
        if training.done:
            self._states[tuple(training.progress.runs)] = _digest(training.state().tensors)

    def digest_of(self, results: Sequence[RunResult]) -> tuple[str, dict[Sequence[Any], str]]:
        """Of all that was recorded; and of weights, momentum, statistics and generators of each stack trained here."""
        digest = hashlib.sha256()
        for result in results:
            digest.update(repr((result.run, result.status)).encode() + result.subset.tobytes())
            for record in result.epochs:
                digest.update(np.float64(record.train_loss).tobytes())
                for name, vector in sorted(record.vectors().items()):
                    digest.update(name.encode() + np.ascontiguousarray(vector).tobytes())
        return digest.hexdigest(), self._states


def _digest(tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def check_case(case: Case, device: str, children: "Children") -> Values:
    """Whether it trains, and whether the bits are equal."""
    data = _data(case, device)
    first, first_watch = _train(case, data)
    again, again_watch = _train(case, data)
    with tempfile.TemporaryDirectory(prefix="longtail-gpu-") as folder:
        code = children.train_and_be_killed(case, Path(folder))
        watch = Watch(_checkpoints(case, data, Path(folder)))
        resumed = case.engine().train(case.campaign(), data, case.runs, watch)
    digest, states = first_watch.digest_of(first)
    resumed_digest, resumed_states = watch.digest_of(resumed)
    ended = [result.epochs[-1] for result in first]
    return {
        "trains": all(result.epochs[0].train_loss > result.epochs[-1].train_loss for result in first),
        "twice equal": (digest, states) == again_watch.digest_of(again),
        "killed": code == -signal.SIGKILL,
        "resumed in mid-run": watch.begun[-1] == EPOCHS - 1,
        "resumed equal": resumed_digest == digest and resumed_states.items() <= states.items(),
        "loss": float(np.mean([record.train_loss for record in ended])),
        "test accuracy": float(np.mean([record.test_correct.mean() for record in ended])),
    }


def passed(values: Values) -> bool:
    """Every statement about a case holds."""
    return all(value for value in values.values() if isinstance(value, bool))


def _train(case: Case, data: DeviceData) -> tuple[list[RunResult], Watch]:
    watch = Watch()
    return case.engine().train(case.campaign(), data, case.runs, watch), watch


def _data(case: Case, device: str) -> DeviceData:
    dataset = made_images()
    labels = np.array(dataset.train_labels)
    if case.probed:
        labels[::10] = (labels[::10] + 1) % dataset.num_classes
    return load_on_device(dataset, case.campaign(), labels, torch.device(device))


def _checkpoints(case: Case, data: DeviceData, folder: Path) -> ShardCheckpoints:
    plan = ExecutionPlan(len(case.runs), max(1, case.stack), case.precision, program=case.program)
    header = make_header(case.campaign(), made_images(), **plan.header_fields())
    conditions = training_conditions(case.engine(), header, data.device)
    return ShardCheckpoints(CheckpointFiles(LocalFiles(folder)), case.shard, header, conditions, minutes=0)


class Children:
    """Processes that train a case until they are killed. The next one starts while this one trains."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._context = multiprocessing.get_context("spawn")  # CUDA does not outlive a fork
        self._next = self._start()

    def train_and_be_killed(self, case: Case, folder: Path, *, last: bool = False) -> int | None:
        """The exit code of a child that leaves its checkpoints in a folder; None: it did not end in time."""
        process, connection = self._next
        connection.send((case, folder))
        if not last:
            self._next = self._start()
        process.join(_READY_SECONDS)
        code: int | None = process.exitcode
        process.kill()
        return code

    def close(self) -> None:
        """End the one that waits."""
        self._next[0].kill()
        self._next[0].join()

    def _start(self) -> tuple[Any, Connection]:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self._device), daemon=True)
        process.start()
        return process, ours


@contextmanager
def killable_children(device: str) -> Iterator[Children]:
    """Children, of which none is left afterwards."""
    children = Children(device)
    try:
        yield children
    finally:
        children.close()


def _serve(connection: Connection, device: str) -> None:
    """In a child: get everything ready, wait for a case, train it, and be killed by the kernel on the way."""
    torch.zeros(1, device=device)
    case, folder = connection.recv()
    data = _data(case, device)
    _killed(case.engine(), KILLED_AT).train(case.campaign(), data, case.runs, _checkpoints(case, data, folder))


def _killed(engine: Engine, step: int) -> Engine:
    """The engine in a process that is killed at a step, counted over all stacks."""
    start, count = engine.start_next, 0

    def start_counted(campaign: Campaign, data: DeviceData, runs: Sequence[Run]) -> Trainer:
        trainer: Any = start(campaign, data, runs)
        set_rate_factor = type(trainer.update).set_rate_factor

        def count_step(factor: float) -> None:
            nonlocal count
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)
            set_rate_factor(trainer.update, factor)

        trainer.update.set_rate_factor = count_step
        return trainer  # type: ignore[no-any-return]

    engine.start_next = start_counted  # type: ignore[method-assign]
    return engine
