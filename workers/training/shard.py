"""`Worker`: trains the runs of a shard and commits them to the store."""

import threading
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Literal

import torch

from workers.campaign.campaign import Campaign
from workers.campaign.keys import Shard
from workers.errors import FAILED, LongtailError, StoreError
from workers.models import build_model
from workers.models.repeatability import compare_starting_values
from workers.models.stacking import unstackable_reason
from workers.models.stacking.compiled import compiler_error
from workers.store import Header, RunResult, Store
from workers.store.failures import MAX_MESSAGE, MAX_TRACEBACK
from workers.training import (
    Checkpoints,
    Engine,
    SequentialEngine,
    ShardCheckpoints,
    StackedEngine,
    training_conditions,
)
from workers.training.engine import NO_CHECKPOINTS
from workers.training.loop import device_name
from workers.training.smaller_stacks import train_within_memory
from workers.training.store_data import load_store_data
from workers.user_code.boundary import check_interruption, describe_error, format_traceback
from workers.user_code.text_limits import shortened


@dataclass(frozen=True)
class ShardSummary:
    """A committed shard, as the driver sees it: seconds of training, bytes written (0 where it was there already)."""

    shard: Shard
    diverged: int
    seconds: float = 0.0
    bytes: int = 0
    notes: tuple[str, ...] = ()
    """Warnings that are shown."""


@dataclass(frozen=True)
class ShardError:
    """A shard that could not be trained (`user`: the campaign's code or data) or not be committed (`store`)."""

    shard: Shard
    kind: Literal["user", "store"]
    message: str
    traceback: str
    exit_code: int = FAILED
    """See `LongtailError`: a mistake in the campaign may be found where it is trained only."""


class Worker:
    """Trains shards of one campaign in this process. Holds the data on its device, the open store and the engine."""

    def __init__(
        self, campaign: Campaign, store_uri: str, device: str, checkpoint_minutes: float | None = None
    ) -> None:
        """`device` is a torch device, such as `cpu` or `cuda`; None minutes: shards in training are not checkpointed.

        Raises StoreError or DataError.
        """
        self.campaign = campaign
        self.store = Store.open(store_uri)
        dataset, self.data = load_store_data(self.store, campaign, torch.device(device))
        # Chosen when the first shard trains: the choice runs the campaign's own code, which may fail.
        self.choose_engine = partial(self._checked_engine, dataset.input_shape)
        self._fallbacks: dict[Shard, list[str]] = {}
        """Notes of the shards in which it was."""
        self._device_in_use = threading.Lock()
        self._engine: Engine | None = None
        """Once it is chosen; one of smaller stacks since memory was exhausted."""
        self._checkpoint_minutes = checkpoint_minutes
        self._checkpoints: dict[Shard, ShardCheckpoints] = {}
        """Of the shards that are trained or waiting to be committed."""

    def _checked_engine(self, input_shape: tuple[int, ...]) -> Engine:
        check_starting_values(self.campaign, self.store.header, input_shape, self.store.uri)
        return choose_engine(self.campaign, self.store.header, input_shape, self.data.device)

    def attempt(self, shard: Shard) -> ShardSummary | ShardError:
        """Train and commit a shard. May be called by two threads: one shard is written while the next one trains."""
        if self._engine is not None and self._device_in_use.locked():
            self._engine.prepare(self.campaign, self.data, shard.runs)
        with self._device_in_use:
            results = self.train(shard)
        return results if isinstance(results, ShardError) else self.commit(shard, results)

    def train(self, shard: Shard, following: Shard | None = None) -> list[RunResult] | ShardError:
        """Train a shard's runs; what goes wrong comes back as text, which reaches a driver whatever was raised.

        Also what ends other programs, such as SystemExit; only an interruption passes through. `following` is the shard
        that will be trained next, as far as is known: it is prepared meanwhile.
        """
        try:
            return self._train_in_memory(shard, following)
        except BaseException as error:  # noqa: BLE001 - the boundary at which user code is reported
            check_interruption(error)
            return as_shard_error(shard, "user", error)

    def _train_in_memory(self, shard: Shard, following: Shard | None) -> list[RunResult]:
        """Train a shard's runs in stacks that fit into memory: halved until they do, from then on for all shards.

        A shard starts anew, or from a checkpoint of the smaller stacks, so that every run's bits are those of the size
        that it has in the end. Raises ModelError where not even one model fits.
        """

        def attempt(engine: Engine) -> list[RunResult]:
            if following is not None:
                engine.prepare(self.campaign, self.data, following.runs)
            return engine.train(self.campaign, self.data, shard.runs, self._checkpoints_of(shard, engine))

        def on_smaller(engine: Engine, smaller: Engine) -> None:
            self._engine = smaller
            self._fallbacks.setdefault(shard, []).append(
                f"{engine.size} models at a time ran out of memory ({device_name(self.data.device)}): "
                f"from {shard.shard_id} on this worker trains {smaller.size} at a time; "
                "losses may differ in the last bit"
            )

        if self._engine is None:
            self._engine = self.choose_engine()
            if isinstance(self._engine, StackedEngine) and self._engine.program != self.store.header.program:
                self._fallbacks.setdefault(shard, []).append(_not_compiled_note(self.data.device))
        return train_within_memory(self._engine, self.campaign, self.data.device, attempt, on_smaller)

    def commit(self, shard: Shard, results: list[RunResult]) -> ShardSummary | ShardError:
        """Write a shard's results to the store, whole or not at all."""
        try:
            written = self.store.commit(shard, results)
        except StoreError as error:
            return as_shard_error(shard, "store", error)
        diverged = sum(result.status == "diverged" for result in results)
        checkpoints = self._checkpoints.pop(shard, None)
        if checkpoints is not None:
            checkpoints.remove()
        notes = (*self._fallbacks.pop(shard, ()), *(() if checkpoints is None else checkpoints.notes))
        return ShardSummary(shard, diverged, sum(result.seconds for result in results), written, notes)

    def _checkpoints_of(self, shard: Shard, engine: Engine) -> Checkpoints:
        if self._checkpoint_minutes is None:
            return NO_CHECKPOINTS
        conditions = training_conditions(engine, self.store.header, self.data.device)
        made = ShardCheckpoints(self.store.checkpoints, shard, self.store.header, conditions, self._checkpoint_minutes)
        self._checkpoints[shard] = made
        return made


def check_starting_values(campaign: Campaign, header: Header, input_shape: tuple[int, ...], uri: str) -> None:
    """Raise ModelError where a model function returns different models than when the store was created.

    Under another version of torch nothing is compared: its generators may draw otherwise.
    """
    known = header.starting_values
    if known is not None and header.versions.get("torch") == version("torch"):
        build = partial(build_model, campaign.model, input_shape, len(header.class_names))
        compare_starting_values(campaign.model.name, build, known, uri)


def choose_engine(
    campaign: Campaign, header: Header, input_shape: tuple[int, ...], device: torch.device
) -> SequentialEngine | StackedEngine:
    """The engine for a store's runs on a device.

    A lone model trains as a stack of one where it can be stacked: a stack's program is faster than the model itself.
    A program that a GPU's store has compiled is compiled on GPUs where the compiler works.
    """
    reason = unstackable_reason(lambda: build_model(campaign.model, input_shape, len(header.class_names)), input_shape)
    if reason:
        return SequentialEngine(header.precision)
    program = header.program
    if program.compiled and (device.type != "cuda" or compiler_error(device) is not None):
        program = program.model_copy(update={"compiled": False})
    return StackedEngine(header.stack_size, header.precision, program=program)


def _not_compiled_note(device: torch.device) -> str:
    """Why a worker does not compile what the store's other workers do."""
    why = compiler_error(device) if device.type == "cuda" else "it does so on GPUs alone"
    return f"the store's models are compiled, this worker's are not ({device_name(device)}): {why}; losses may differ"


def as_shard_error(shard: Shard, kind: Literal["user", "store"], error: BaseException) -> ShardError:
    message = str(error) if kind == "store" else describe_error(error)
    code = error.exit_code if isinstance(error, LongtailError) else FAILED
    details = shortened(format_traceback(error), MAX_TRACEBACK)
    return ShardError(shard, kind, shortened(message, MAX_MESSAGE), details, code)
