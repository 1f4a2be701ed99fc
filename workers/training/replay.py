"""Trains a committed run again, compares it with what the store recorded, and returns its model.

A store holds results, not models. A run is trained again at its own place in its stack, in the store's precision: on
the same hardware and versions every recorded bit is reproduced, so the model equals the original one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run
from workers.common.progress import ProgressCallback, no_progress
from workers.errors import EstimateError
from workers.store import RunResult, Store
from workers.store.schema import matrix
from workers.training.determinism import deterministic
from workers.training.device_data import DeviceData
from workers.training.engine import Engine
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


def replay_run(
    store: Store,
    run: Run,
    device: str = "cpu",
    *,
    on_epoch: ProgressCallback = no_progress,
    trust_code: bool = False,
    accept_differences: bool = False,
) -> Replay:
    """A run trained again on a torch device, compared with its record. The models of its stack are trained with it.

    A function that the store's campaign names is called, and data are downloaded, with `trust_code` alone. Raises
    ReplayMismatchError where a recorded bit differs, unless `accept_differences`; CommandError where the run is not
    committed; EstimateError where it diverged and where the store's runs cannot be trained again (imported ones,
    balanced subsets of an earlier version); ModelError or DataError where that takes such a function; DataError where
    data are missing; ModelError as training does. What a model of the user's own raises passes through.
    """
    recorded = _finished(store, run)
    campaign = trainable_campaign(store, trusted=trust_code)
    if store.header.is_superseded:
        raise EstimateError(
            f"{store.uri}: its balanced subsets were drawn by an earlier version, so its runs cannot be replayed"
        )
    campaign = campaign.without_probes()
    dataset, data = load_store_data(store, campaign, torch.device(device), trusted=trust_code)
    with user_code("model"):
        check_starting_values(campaign, store.header, dataset.input_shape, store.uri)
        engine = choose_engine(campaign, store.header, dataset.input_shape, data.device)
        result, model = _train(engine, campaign, data, run, on_epoch)
        agreement = _agreement(model, campaign, data, recorded)
    differences = tuple(record_differences(result, recorded, campaign.record))
    if differences and not accept_differences:
        raise mismatch_error(store, result, recorded, differences)
    return Replay(run, model, result, differences, agreement)


def _train(
    engine: Engine, campaign: Campaign, data: DeviceData, run: Run, on_epoch: ProgressCallback
) -> tuple[RunResult, nn.Module]:
    """Train a run at its place in its stack, as a worker does."""

    def attempt(chosen: Engine) -> tuple[RunResult, nn.Module]:
        weights = _FinalWeights(run, on_epoch)
        (result,) = chosen.train(campaign, data, [run], weights)
        with deterministic(data.device, chosen.precision):
            return result, trained_model(campaign, data, run, weights.tensors)

    return train_within_memory(engine, campaign, data.device, attempt)


def _agreement(model: nn.Module, campaign: Campaign, data: DeviceData, recorded: pa.Table) -> float:
    """Share of all examples that the model gets right, or wrong, as the last of the recorded rows says."""
    with deterministic(data.device):
        seen = evaluate(lambda images: model(images)[None], 1, data, campaign.recipe.evaluation_flip, _BATCH)
    alike = [
        matrix(recorded, name, len(correct))[-1] == correct
        for name, correct in (("train_correct", seen.train_correct[0]), ("test_correct", seen.test_correct[0]))
    ]
    return float(np.concatenate(alike).mean())


class _FinalWeights:
    """`Checkpoints` that saves nothing, and copies the weights with which a run ends into `tensors`."""

    def __init__(self, run: Run, on_epoch: ProgressCallback) -> None:
        self.tensors: Mapping[str, torch.Tensor] = {}
        self._run = run
        self._on_epoch = on_epoch

    def resume(self, begin: Callable[[], StackTraining]) -> StackTraining:
        """See `Checkpoints.resume`."""
        return begin()

    def on_epoch_end(self, training: StackTraining) -> None:
        """See `Checkpoints.on_epoch_end`."""
        self._on_epoch(training.progress.epoch, training.campaign.recipe.epochs)
        if training.done and self._run in training.progress.runs:
            weights = training.trainer.weights_of(training.progress.runs.index(self._run))
            self.tensors = {name: tensor.clone() for name, tensor in weights.items()}


def _finished(store: Store, run: Run) -> pa.Table:
    """A committed run's rows. Raises CommandError where it is not committed, EstimateError where it diverged."""
    rows = recorded_rows(store, run)
    if rows["status"][-1].as_py() == "diverged":
        raise EstimateError(f"{store.uri}: run {run.run_id} diverged, so there is no model of it")
    return rows
