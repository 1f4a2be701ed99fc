"""One trial of a recipe search: models on a few subsets, evaluated after each epoch."""

import math
import time
from collections.abc import Generator, Sequence
from statistics import fmean
from typing import Literal

import torch

from orchestrator.campaigns.execution_plan import ExecutionPlan, plan_execution
from orchestrator.campaigns.preflight import check_campaign_fits, make_header, training_labels
from workers.campaign.campaign import Campaign
from workers.campaign.field_types import Frozen
from workers.campaign.keys import Run
from workers.campaign.lr_schedule import examples_per_epoch
from workers.datasets import Dataset, load_dataset
from workers.datasets.image_noise import with_image_noise
from workers.subsets.draw import noisy_images, subset_size
from workers.training.determinism import deterministic
from workers.training.device_data import DeviceData, load_on_device
from workers.training.evaluation import Evaluation
from workers.training.hardware import detect_machine
from workers.training.loop import Trainer
from workers.training.shard import choose_engine

TRAINING_PASSES = 3
"""A training step costs about three forward passes: one forward, two backward."""

Ending = Literal["fitted", "unfitted", "diverged"]
"""`unfitted`: all epochs were trained, and the subsets are not fitted."""


class Trial(Frozen):
    """What to train: `campaign.subsets.repetitions` runs from `first` on at each of the campaign's ratios.

    `until_fit` ends it at the first epoch at which the subsets are fitted.
    """

    key: str
    campaign: Campaign
    first: int
    fit: float
    until_fit: bool


class EpochMetrics(Frozen):
    """Accuracies of a trial's models after an epoch: [ratio][run], in the campaign's order."""

    epoch: int
    subset: list[list[float]]
    """Accuracy on the examples trained on."""
    heldout: list[list[float]]
    """Accuracy on the other training examples; at ratio 1, which has none, on the test examples."""
    loss: float | None
    """Mean training loss; None where it is not finite."""
    seconds: float
    """Training time of this epoch for one run, without evaluation."""
    operations: float
    """Floating-point operations of one run's training so far, the mean over the ratios."""
    ended: Ending | None = None

    @property
    def subset_accuracy(self) -> float:
        """The mean over the runs, at the ratio where that is lowest: a recipe must fit at every ratio."""
        return min(map(fmean, self.subset))

    @property
    def heldout_accuracy(self) -> float:
        """The mean over ratios and runs."""
        return fmean(map(fmean, self.heldout))

    @property
    def heldout_by_run(self) -> list[float]:
        """The mean over the ratios, of each run; recipes are compared run by run."""
        return [fmean(run) for run in zip(*self.heldout, strict=True)]


class TrialTrainer:
    """Trains trials on one device. Loads the data once per input scaling."""

    def __init__(self, device: str) -> None:
        """`device` is a torch device, such as `cpu` or `cuda`."""
        self.device = torch.device(device)
        self._dataset: Dataset | None = None
        self._data: dict[str, DeviceData] = {}

    def epochs(self, trial: Trial) -> Generator[EpochMetrics]:
        """Train a trial; the metrics after each epoch, the last with `ended`. What user code raises passes through.

        Until it ends or is closed, torch is set up for bit-identical results, in all of this process.
        """
        campaign = trial.campaign
        dataset = self._dataset = self._dataset or load_dataset(campaign.dataset)
        facts = check_campaign_fits(campaign, dataset)
        sizes = [subset_size(ratio_ppm, dataset.num_train) for ratio_ppm in campaign.subsets.ratios_ppm]
        size = fmean(examples_per_epoch(campaign.recipe, each) for each in sizes)
        execution = plan_execution(campaign, dataset, facts, detect_machine(self.device))
        with deterministic(self.device, execution.precision):
            ratios = self._start(trial, dataset, execution)
            for epoch in range(1, campaign.recipe.epochs + 1):
                started = time.perf_counter()
                losses = [loss for trainers in ratios for trainer in trainers for loss in trainer.train_epoch().losses]
                seconds = (time.perf_counter() - started) / len(losses)
                measured = [_accuracies(trainers) for trainers in ratios]
                loss = fmean(losses)
                metrics = EpochMetrics(
                    epoch=epoch,
                    subset=[subset for subset, _ in measured],
                    heldout=[heldout for _, heldout in measured],
                    loss=loss if math.isfinite(loss) else None,
                    seconds=seconds,
                    operations=epoch * size * TRAINING_PASSES * facts.forward_operations,
                )
                metrics = metrics.model_copy(update={"ended": _ending(trial, metrics)})
                yield metrics
                if metrics.ended:
                    return

    def _start(self, trial: Trial, dataset: Dataset, execution: ExecutionPlan) -> list[list[Trainer]]:
        """The models before their first update: of each ratio the stacks, or single models."""
        campaign = trial.campaign
        header = make_header(campaign, dataset, **execution.header_fields())
        engine = choose_engine(campaign, header, dataset.input_shape, self.device)
        data = self._on_device(campaign, dataset)
        repetitions = range(trial.first, trial.first + campaign.subsets.repetitions)
        blocks = [repetitions[start : start + engine.size] for start in range(0, len(repetitions), engine.size)]
        return [
            [engine.start(campaign, data, [Run(ratio_ppm, repetition) for repetition in block]) for block in blocks]
            for ratio_ppm in campaign.subsets.ratios_ppm
        ]

    def _on_device(self, campaign: Campaign, dataset: Dataset) -> DeviceData:
        """All trials of a search have the same data and given labels; what differs is how pixels are scaled."""
        key = campaign.recipe.input_scaling
        if key not in self._data:
            labels = training_labels(campaign, dataset)
            noisy = with_image_noise(dataset, campaign, noisy_images(campaign, dataset.num_train))
            self._data[key] = load_on_device(noisy, campaign, labels, self.device)
        return self._data[key]


def _ending(trial: Trial, metrics: EpochMetrics) -> Ending | None:
    if metrics.loss is None:
        return "diverged"
    last = metrics.epoch == trial.campaign.recipe.epochs
    if metrics.subset_accuracy >= trial.fit and (last or trial.until_fit):
        return "fitted"
    return "unfitted" if last else None


def _accuracies(trainers: Sequence[Trainer]) -> tuple[list[float], list[float]]:
    """(on the subset, on held-out examples), a value for each run."""
    subset: list[float] = []
    heldout: list[float] = []
    for trainer in trainers:
        now: Evaluation = trainer.evaluate()
        for k, members in enumerate(trainer.subsets):
            others = now.test_correct[k] if members.all() else now.train_correct[k][~members]
            subset.append(float(now.train_correct[k][members].mean()))
            heldout.append(float(others.mean()))
    return subset, heldout
