"""The training loop that all engines share: epochs, recorded epochs, diverged runs."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run
from workers.common.arrays import Bools
from workers.store import EpochRecord, RunResult
from workers.store.output_columns import output_columns
from workers.store.schema import presentation_columns
from workers.store.training_statistics import TrainingSums, early_epoch, statistic_columns
from workers.training.device_data import DeviceData
from workers.training.evaluation import Evaluation
from workers.training.presentations import Presented, fill_slots
from workers.training.probes.stack_probes import StackProbes, without_kept
from workers.training.trainer_state import TrainerState


@dataclass(frozen=True)
class EpochOutput:
    """Each of K models' mean loss over the examples presented, and what is recorded of the presentations."""

    losses: list[float]
    presented: Presented
    """[K, N] by column."""
    gradients: npt.NDArray[np.float32] | None = None
    """float32[K, tensors, 3], where gradients are recorded: see `GradientSums`."""


class Trainer(Protocol):
    """K models in training."""

    @property
    def subsets(self) -> Sequence[Bools]:
        """K subsets, bool[N]."""

    def train_epoch(self) -> EpochOutput:
        """One pass of every model over its subset."""

    def evaluate(self) -> Evaluation:
        """Every model's present correctness on all examples, and the outputs that are recorded."""

    def weights_of(self, k: int) -> Mapping[str, torch.Tensor]:
        """The parameters (float32) and buffers of model k by the model's own names: views, not copies."""

    def state(self) -> TrainerState:
        """See `ResumableTrainer.state`."""

    def restore(self, state: TrainerState) -> None:
        """See `ResumableTrainer.restore`."""


@dataclass
class StackProgress:
    """Progress of the K runs of a stack at the end of an epoch (0 before the first)."""

    runs: Sequence[Run]
    epoch: int
    records: list[list[EpochRecord]]
    """Of each run, ascending."""
    diverged: list[bool]
    seconds: float
    """Spent on all of them so far; what an interruption undid is not counted."""
    presented: list[list[Presented]]
    """Of each run, the epochs since its last record: [N] by column."""
    probed: list[dict[str, npt.NDArray[Any]]]
    """Of each run, what probes measured so far, by column; empty where the run is not to be measured."""
    sums: list[TrainingSums]
    """Of each run, the training statistics so far; empty where none are recorded, and after the last epoch."""
    measured: int = 0
    """Measurements carried out since the last epoch."""


class StackTraining:
    """Trains K runs epoch by epoch, and collects their records."""

    def __init__(self, campaign: Campaign, runs: Sequence[Run], data: DeviceData, start: Callable[[], Trainer]) -> None:
        self.campaign = campaign
        self.device = data.device
        self._clock = time.perf_counter()
        self._recorded = set(campaign.recorded_epochs())
        self._slots = campaign.presentation_slots()
        self._columns = presentation_columns(campaign.record)
        self.trainer = start()
        self.probes = StackProbes(campaign, data, runs, self.trainer)
        none = [False] * len(runs)
        self._statistics = statistic_columns(campaign.record)
        sums = [TrainingSums.zero(len(data.train_labels)) for _ in runs] if self._statistics else []
        self.progress = StackProgress(
            runs, 0, [[] for _ in runs], none, 0.0, [[] for _ in runs], self.probes.no_values(), sums
        )

    @property
    def done(self) -> bool:
        """Nothing is left to train or to measure."""
        return all(self.progress.diverged) or (self._trained and self.progress.measured == self.probes.num_units)

    @property
    def _trained(self) -> bool:
        return self.progress.epoch == self.campaign.recipe.epochs

    def advance(self) -> None:
        """Train the next epoch; after the last one carry out the next measurement of probes."""
        if self._trained:
            self.probes.measure(self.progress.measured, self.progress.diverged, self.progress.probed)
            self.progress.measured += 1
        else:
            self._train_epoch()
        earlier, self._clock = self._clock, time.perf_counter()
        self.progress.seconds += self._clock - earlier

    def _train_epoch(self) -> None:
        """Train an epoch, and record it where that is requested. A run that diverges ends with a record."""
        now = self.progress
        trained, now.epoch = self.trainer.train_epoch(), now.epoch + 1
        losses = trained.losses
        for k, presented in enumerate(now.presented):
            if self._columns and not now.diverged[k]:
                presented.append({name: trained.presented[name][k] for name in self._columns})
        is_early = now.epoch >= early_epoch(self.campaign.recipe.epochs)
        for k, sums in enumerate(now.sums):
            if not now.diverged[k]:
                sums.add({name: vectors[k] for name, vectors in trained.presented.items()}, is_early)
        ended = [not before and not math.isfinite(loss) for before, loss in zip(now.diverged, losses, strict=True)]
        due = now.epoch in self._recorded
        if due or any(ended):
            seen = self.trainer.evaluate()
            for k, loss in enumerate(losses):
                if ended[k] or (due and not now.diverged[k]):
                    now.records[k].append(self._record(k, seen, loss))
                    now.presented[k] = []
        now.diverged = [before or at_once for before, at_once in zip(now.diverged, ended, strict=True)]
        if self._trained:
            now.sums = []  # a shard holds the progress of all its stacks
        self.probes.on_epoch_end(now.epoch, trained.gradients, now.probed)

    def _record(self, k: int, seen: Evaluation, loss: float) -> EpochRecord:
        train, test = seen.train_correct[k], seen.test_correct[k]
        presented = fill_slots(self.progress.presented[k], self._slots, self._columns, len(train))
        statistics = self.progress.sums[k].statistics() if self._statistics else {}
        return EpochRecord(self.progress.epoch, train, test, loss, seen.outputs_of(k), presented, statistics)

    def restore(self, progress: StackProgress, state: TrainerState | None) -> None:
        """Continue from `progress` and `state`; a finished training needs no state.

        Raises ValueError where they do not belong to this training, RuntimeError as `ResumableTrainer.restore`; the
        object must not be used after either.
        """
        if progress.epoch > self.campaign.recipe.epochs or not self._complete(progress):
            raise ValueError("holds other epochs, or other values, than the campaign records")
        self.progress = progress
        if not self.done:
            if state is None:
                raise ValueError("has no state to go on from")
            self.probes.restore(state.tensors)
            self.trainer.restore(replace(state, tensors=without_kept(state.tensors)))

    def state(self) -> TrainerState:
        """The trainer's state and what is kept for probes; tensors are their own, not copies. Raises ValueError."""
        state = self.trainer.state()
        return replace(state, tensors={**state.tensors, **self.probes.tensors()})

    def _complete(self, progress: StackProgress) -> bool:
        """Whether each run has the epochs that should have been recorded so far, with all that should be in them."""
        if not self.probes.fit(progress.probed) or not 0 <= progress.measured <= self.probes.num_units:
            return False
        summed = self._statistics and progress.epoch < self.campaign.recipe.epochs
        if len(progress.sums) != (len(progress.runs) if summed else 0):
            return False
        if not all(sums.fits(len(self.trainer.subsets[0])) for sums in progress.sums):
            return False
        for records, diverged, presented in zip(progress.records, progress.diverged, progress.presented, strict=True):
            if not all(map(self._has_all, records)) or any(set(epoch) != set(self._columns) for epoch in presented):
                return False
            there = [record.epoch for record in records]
            last = there[-1] if diverged and there else progress.epoch
            ended = {last} if diverged else set()
            if there != sorted({epoch for epoch in self._recorded if epoch <= last} | ended) or last > progress.epoch:
                return False
            waiting = 0 if diverged or not self._columns else progress.epoch - max(there, default=0)
            if len(presented) != waiting:
                return False
        return True

    def _has_all(self, record: EpochRecord) -> bool:
        held = {name: len(vectors) for name, vectors in record.presentations.items()}
        outputs = {column.name for column in output_columns(self.campaign.record)}
        if set(record.outputs) != outputs or set(record.statistics) != set(self._statistics):
            return False
        return held == dict.fromkeys(self._columns, self._slots)

    def results(self) -> list[RunResult]:
        """One per run; they share the seconds."""
        now, name = self.progress, device_name(self.device)
        return [
            RunResult(
                run=run,
                subset=self.trainer.subsets[k],
                epochs=self.probes.with_values(now.records[k], now.probed[k]),
                status="diverged" if now.diverged[k] else "completed",
                seconds=now.seconds / len(now.runs),
                device=name,
            )
            for k, run in enumerate(now.runs)
        ]


def device_name(device: torch.device) -> str:
    """The device as stored with each run: `cpu`, or the GPU's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
