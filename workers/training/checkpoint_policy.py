"""Decides when a shard in training is checkpointed, and whether a checkpoint may be used.

Checkpoints are taken at the ends of epochs: there the whole state is a few tensors and generators, whereas in
mid-epoch it would also be the order drawn, the changes drawn and the sum of losses, on a device that would have to be
waited for. An interruption then costs at most the minutes between two checkpoints and one epoch.

Their state is a function of the campaign and the shard alone, so that any number of workers may write, read and remove
one shard's checkpoint at the same time: whichever is found is a true beginning of its training.
"""

import platform
import time
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from workers.campaign.keys import Shard
from workers.errors import DamagedFileError, StoreError
from workers.store import Header
from workers.store.checkpoint_files import CheckpointFiles
from workers.store.stack_program import GROUPED
from workers.training.checkpoint_codec import CheckpointState, decode, encode
from workers.training.dtype import fast_bfloat16
from workers.training.elementwise_update import triton_update_factory
from workers.training.engine import Engine
from workers.training.loop import StackProgress, StackTraining, device_name

FORMAT = 1
"""Of the state that is saved; another one is not read."""

_MAX_NOTE = 500
"""Characters: what a note tells may come from a damaged file."""


class ShardCheckpoints:
    """The checkpoint of one shard, written every so many minutes, to the store. Nothing that goes wrong is an error:
    the shard is trained on without, or from its start, and `notes` say why."""

    def __init__(
        self, files: CheckpointFiles, shard: Shard, header: Header, conditions: Mapping[str, str], minutes: float
    ) -> None:
        """`conditions` are those of `training_conditions`; 0 minutes: a checkpoint after every epoch."""
        self.notes: list[str] = []
        self._files = files
        self._shard = shard
        self._header = header
        self._conditions = {**conditions, "campaign": header.identity, "shard": shard.shard_id}
        self._seconds = minutes * 60
        self._last = time.monotonic()
        self._present = False
        self._looked = False
        self._saved: CheckpointState | None = None
        self._done: list[StackProgress] = []

    def resume(self, begin: Callable[[], StackTraining]) -> StackTraining:
        """See `Checkpoints.resume`. Looks into the store once, at the shard's first stack."""
        training = begin()
        if not self._looked:
            self._looked = True
            self._saved = self._load(training)
        if self._saved is not None:
            try:
                _restore(training, self._saved)
            except (ValueError, RuntimeError) as error:
                self._discard(str(error))
                training = begin()
        if training.done:
            self._done.append(training.progress)
        else:
            self._saved = None  # of no use for the stacks that come after this one
        return training

    def on_epoch_end(self, training: StackTraining) -> None:
        """See `Checkpoints.on_epoch_end`. Writes a checkpoint if one is due and runs are left to train."""
        if training.done:
            self._done.append(training.progress)
        done = {run for stack in self._done for run in stack.runs}
        if time.monotonic() - self._last >= self._seconds and not done.issuperset(self._shard.runs):
            self._save(training)
            self._last = time.monotonic()

    def remove(self) -> None:
        """Delete the checkpoint of the committed shard, if it has one."""
        if self._present:
            try:
                self._files.remove(self._shard)
                self._present = False
            except StoreError as error:
                self._note(f"cannot be removed: {error}")

    def _save(self, training: StackTraining) -> None:
        try:
            if training.done:
                saved = CheckpointState(self._conditions, self._done, None)
            else:
                saved = CheckpointState(self._conditions, [*self._done, training.progress], training.state())
            self._files.write(self._shard, encode(saved))
            self._present = True
        except (StoreError, ValueError) as error:
            self._note(f"cannot be written, an interruption will lose more work: {error}")

    def _load(self, training: StackTraining) -> CheckpointState | None:
        try:
            content = self._files.read(self._shard, lambda: _max_bytes(training, self._shard, self._header))
            if content is None:
                return None
            self._present = True
            saved = decode(content, self._header.num_train, self._header.num_test, self._header.probe_columns)
        except (DamagedFileError, ValueError) as error:
            self._discard(str(error))
            return None
        except StoreError as error:
            self._note(f"cannot be read, training starts from the beginning: {error}")
            return None
        return saved if self._holds(saved) else None

    def _holds(self, saved: CheckpointState) -> bool:
        """Whether the same bits would come out."""
        ours, theirs = self._conditions, saved.conditions
        different = [name for name in sorted({*ours, *theirs}) if ours.get(name) != theirs.get(name)]
        if different:
            differences = ", ".join(f"{name} {theirs.get(name)!r}, here {ours.get(name)!r}" for name in different)
            self._note(f"was written under different conditions ({differences}), training starts from the beginning")
        return not different

    def _discard(self, reason: str) -> None:
        self._note(f"cannot be used, training starts from the beginning: {reason}")
        self._present = True
        self.remove()

    def _note(self, text: str) -> None:
        note = f"checkpoint of {self._shard.shard_id} {text}"[:_MAX_NOTE]
        if note not in self.notes:
            self.notes.append(note)


def training_conditions(engine: Engine, header: Header, device: torch.device) -> dict[str, str]:
    """Device, versions and settings on which the bits of a training depend, beside its campaign and shard."""
    return {
        "format": str(FORMAT),
        "engine": type(engine).__name__,
        "stack_size": str(engine.size),
        "precision": header.precision,
        **({} if header.program == GROUPED else {"program": str(header.program)}),
        "device": _processor() if device.type == "cpu" else device_name(device),
        **({} if device.type == "cpu" else {"update": "torch" if triton_update_factory(device) is None else "triton"}),
        **_versions(),
    }


@cache
def _versions() -> dict[str, str]:
    return {"longtail": version("longtail"), "numpy": version("numpy"), "torch": torch.__version__}


@cache
def _processor() -> str:
    """The processor's kind, as far as PyTorch's and its libraries' choice of instructions depends on it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    bfloat16 = "with" if fast_bfloat16(torch.device("cpu")) else "without"
    named = models[0] if models else platform.machine()
    return f"{named}, {torch.backends.cpu.get_cpu_capability()}, {bfloat16} bfloat16"


def _restore(training: StackTraining, saved: CheckpointState) -> None:
    """Restore a stack's training from a checkpoint that has it. Only the last stack has a trainer state."""
    for stack in saved.stacks:
        if stack.runs == training.progress.runs:
            training.restore(stack, saved.state if stack is saved.stacks[-1] else None)


def _max_bytes(training: StackTraining, shard: Shard, header: Header) -> int:
    """More than a checkpoint of this shard can have: the state, every record of all stacks' runs, and the rest."""
    tensors, runs = training.state().tensors, len(shard.runs) + 2 * len(training.progress.runs)
    records = runs * (len(training.campaign.recorded_epochs()) + 1)
    a_record = header.bytes_per_run // header.rows_per_run
    return sum(tensor.nbytes for tensor in tensors.values()) + records * a_record + 1024 * (1024 + len(tensors) + runs)
