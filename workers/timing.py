"""How long runs take on a device, found by training a stack for some seconds.

A run's time is that of starting its model, of its updates, and of evaluating every example at each recorded epoch.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from workers.campaign import PARTS, Campaign
from workers.datasets import Dataset
from workers.device_data import DeviceData, fits, load_on_device
from workers.recipe import ConstantSchedule
from workers.runs import Run
from workers.schedule import steps_per_epoch
from workers.training import Engine
from workers.training.determinism import deterministic
from workers.training.recording import Trainer

_ENOUGH_SECONDS = 1.5
"""What is timed is repeated, or done on more examples, until it takes this long."""

_FIRST_STEPS = {"cpu": 1, "cuda": 4}
"""Steps of an epoch on the fewest examples. On a GPU the warm-up must reach the capture of a CUDA graph."""


@dataclass(frozen=True)
class RunTimes:
    """Seconds per run on one device, a stack's over its size: of starting, of a step, of evaluating an example."""

    start: float
    step: float
    evaluation: float

    def of_run(self, campaign: Campaign, subset_size: int, num_examples: int) -> float:
        """Seconds of a run on a subset, in a data set of `num_examples` training and test examples."""
        steps = campaign.recipe.epochs * steps_per_epoch(campaign.recipe, subset_size)
        evaluated = len(campaign.recorded_epochs()) * num_examples
        return self.start + steps * self.step + evaluated * self.evaluation


def time_runs(campaign: Campaign, dataset: Dataset, engine: Engine, device: torch.device) -> RunTimes:
    """Train and evaluate one stack on the first examples of the data: so many that it takes a while, or all.

    What a model of the user's own raises passes through.
    """
    # The rate does not matter here, and a schedule may have no value after the recipe's last epoch.
    recipe = campaign.recipe.model_copy(update={"schedule": ConstantSchedule()})
    campaign = campaign.model_copy(update={"recipe": recipe})
    runs = [Run(PARTS, repetition) for repetition in range(engine.size)]
    count = min(dataset.num_train, recipe.batch_size * _FIRST_STEPS[device.type])
    with deterministic(device):
        while True:
            data = _first_examples(campaign, dataset, count, device)
            trainer = engine.start(campaign, data, runs)
            trainer.train_epoch()
            if count == dataset.num_train or _seconds(trainer.train_epoch, 0) >= _ENOUGH_SECONDS:
                break
            count = min(dataset.num_train, 2 * count)
        return _times(campaign, engine, data, trainer, runs)


def _times(campaign: Campaign, engine: Engine, data: DeviceData, trainer: Trainer, runs: list[Run]) -> RunTimes:
    steps = steps_per_epoch(campaign.recipe, len(data.train_labels))
    evaluated = len(data.train_labels) + len(data.test_labels)
    return RunTimes(
        start=_seconds(lambda: engine.start(campaign, data, runs), 0) / len(runs),
        step=_seconds(trainer.train_epoch, _ENOUGH_SECONDS) / steps / len(runs),
        evaluation=_seconds(trainer.correctness, _ENOUGH_SECONDS) / evaluated / len(runs),
    )


def _seconds(action: Callable[[], object], enough: float) -> float:
    """Seconds of one call, the mean of as many as take `enough` seconds."""
    started, calls = time.perf_counter(), 0
    while True:
        action()
        calls += 1
        elapsed = time.perf_counter() - started
        if elapsed >= enough:
            return elapsed / calls


def _first_examples(campaign: Campaign, dataset: Dataset, count: int, device: torch.device) -> DeviceData:
    """The first `count` training examples and as large a share of the test examples, where the workers have theirs."""
    tests = -(-dataset.num_test * count // dataset.num_train)
    first = replace(
        dataset,
        train_images=dataset.train_images[:count],
        train_labels=dataset.train_labels[:count],
        test_images=dataset.test_images[:tests],
        test_labels=dataset.test_labels[:tests],
    )
    return load_on_device(first, campaign, np.array(first.train_labels), device, streamed=not fits(dataset, device))
