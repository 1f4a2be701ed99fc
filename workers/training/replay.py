"""Trains committed runs again, verifies what the store recorded of them, and gives their models.

A store holds results, not models. A run is trained again at its own place in its stack, in the store's precision: on
the same hardware and versions every recorded bit is reproduced, so the model equals the original one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run
from workers.common.progress import ProgressCallback, no_progress
from workers.datasets import Dataset
from workers.errors import EstimateError
from workers.store import RunResult, Store
from workers.store.schema import matrix
from workers.training.determinism import deterministic
from workers.training.device_data import DeviceData
from workers.training.engine import Engine, sub_stacks
from workers.training.evaluation import evaluate
from workers.training.loop import StackTraining
from workers.training.model_init import trained_model
from workers.training.recorded_run import mismatch_error, record_differences, recorded_rows
from workers.training.shard import check_starting_values, choose_engine
from workers.training.smaller_stacks import train_within_memory
from workers.training.store_data import load_store_data, trainable_campaign
from workers.user_code.boundary import user_code

_BATCH = 1000


@dataclass(frozen=True, eq=False)
class Replay:
    """A run that was trained again."""

    run: Run
    model: nn.Module
    """float32, on the device, in evaluation mode. Its inputs are scaled images: see `DeviceData.scaled`."""
    result: RunResult
    """What this training recorded; probes are left out."""
    differences: tuple[str, ...]
    """What differs from the store's records, a phrase each; empty: all recorded bits reproduced."""
    agreement: float
    """Share of all training and test examples that `model`, by itself, gets right or wrong as the store's run does. In
    a stack the same products are computed in another order, so that logits differ by rounding."""


@dataclass(frozen=True, eq=False)
class ReplayableStore:
    """A store, its data on a device, and the campaign whose runs are trained again."""

    store: Store
    campaign: Campaign
    dataset: Dataset
    data: DeviceData

    @classmethod
    def load(cls, store: Store, device: torch.device, *, trust_code: bool = False) -> "ReplayableStore":
        """A function that the store's campaign names is called, and data are downloaded, with `trust_code` alone.

        Raises EstimateError where the store's runs cannot be trained again (imported ones, balanced subsets of an
        earlier version), ModelError or DataError where that takes such a function, DataError where data are missing.
        """
        campaign = trainable_campaign(store, trusted=trust_code)
        if store.header.is_superseded:
            raise EstimateError(
                f"{store.uri}: its balanced subsets were drawn by an earlier version, so its runs cannot be replayed"
            )
        campaign = campaign.without_probes()
        return cls(store, campaign, *load_store_data(store, campaign, device, trusted=trust_code))

    def replay(self, runs: Sequence[Run], on_epoch: ProgressCallback = no_progress) -> Iterator[Replay]:
        """The runs, ascending, each trained again in its stack; runs of one stack are trained together.

        Epochs of all stacks count. Raises CommandError where a run is not committed, EstimateError where it diverged;
        ModelError as training does; what a model of the user's own raises passes through.
        """
        recorded = {run: _finished(self.store, run) for run in sorted(set(runs))}
        with user_code("model"):
            engine = self._engine()
        stacks = sub_stacks(list(recorded), engine.stack_size, engine.stack_size)
        steps = self.campaign.recipe.epochs
        for number, stack in enumerate(stacks):
            some = [run for run in stack if run in recorded]
            so_far = partial(_shifted, on_epoch, number * steps, len(stacks) * steps)
            with user_code("model"):
                trained = self._train(engine, some, so_far)
                replays = [self._compared(result, model, recorded[result.run]) for result, model in trained]
            yield from replays

    def _engine(self) -> Engine:
        header, shape = self.store.header, self.dataset.input_shape
        check_starting_values(self.campaign, header, shape, self.store.uri)
        return choose_engine(self.campaign, header, shape)

    def _train(
        self, engine: Engine, runs: Sequence[Run], on_epoch: ProgressCallback
    ) -> list[tuple[RunResult, nn.Module]]:
        """Train runs of one stack, as a worker does; their results and models."""

        def attempt(chosen: Engine) -> list[tuple[RunResult, nn.Module]]:
            weights = _FinalWeights(runs, on_epoch)
            results = chosen.train(self.campaign, self.data, runs, weights)
            with deterministic(self.data.device, chosen.precision):
                return [
                    (result, trained_model(self.campaign, self.data, result.run, weights.of_run[result.run]))
                    for result in results
                ]

        return train_within_memory(engine, self.campaign, self.data.device, attempt)

    def _compared(self, result: RunResult, model: nn.Module, recorded: pa.Table) -> Replay:
        differences = tuple(record_differences(result, recorded, self.campaign.record))
        flip = self.campaign.recipe.evaluation_flip
        with deterministic(self.data.device):
            seen = evaluate(lambda images: model(images)[None], 1, self.data, flip, _BATCH)
        alike = [
            matrix(recorded, name, len(found))[-1] == found
            for name, found in (("train_correct", seen.train_correct[0]), ("test_correct", seen.test_correct[0]))
        ]
        return Replay(result.run, model, result, differences, float(np.concatenate(alike).mean()))


def replay_run(
    store: Store,
    run: Run,
    device: str = "cpu",
    *,
    on_epoch: ProgressCallback = no_progress,
    trust_code: bool = False,
    accept_differences: bool = False,
) -> tuple[Replay, ReplayableStore]:
    """A run trained again on a torch device, its recorded bits verified; and the store with its data there.

    Raises ReplayMismatchError where a recorded bit differs, unless `accept_differences`; as `ReplayableStore`.
    """
    _finished(store, run)  # before data are loaded
    loaded = ReplayableStore.load(store, torch.device(device), trust_code=trust_code)
    (replay,) = loaded.replay([run], on_epoch)
    if replay.differences and not accept_differences:
        raise mismatch_error(store, replay.result, replay.differences)
    return replay, loaded


class _FinalWeights:
    """`Checkpoints` that saves nothing, and copies the weights with which some runs end."""

    def __init__(self, runs: Sequence[Run], on_epoch: ProgressCallback) -> None:
        self.of_run: dict[Run, Mapping[str, torch.Tensor]] = {}
        self._wanted = set(runs)
        self._on_epoch = on_epoch

    def resume(self, begin: Callable[[], StackTraining]) -> StackTraining:
        """See `Checkpoints.resume`."""
        return begin()

    def on_epoch_end(self, training: StackTraining) -> None:
        """See `Checkpoints.on_epoch_end`."""
        self._on_epoch(training.progress.epoch, training.campaign.recipe.epochs)
        if training.done:
            for k, run in enumerate(training.progress.runs):
                if run in self._wanted:
                    weights = training.trainer.weights_of(k)
                    self.of_run[run] = {name: tensor.clone() for name, tensor in weights.items()}


def _finished(store: Store, run: Run) -> pa.Table:
    """A committed run's rows. Raises CommandError where it is not committed, EstimateError where it diverged."""
    rows = recorded_rows(store, run)
    if rows["status"][-1].as_py() == "diverged":
        raise EstimateError(f"{store.uri}: run {run.run_id} diverged, so there is no model of it")
    return rows


def _shifted(on_epoch: ProgressCallback, before: int, total: int, done: int, _: int) -> None:
    on_epoch(before + done, total)
