"""Measures the time of runs on a device by training a stack for a few seconds.

A run's time is that of starting its model, of its updates, and of evaluating every example at each recorded epoch.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
import torch

from workers.campaign.campaign import PPM, Campaign
from workers.campaign.keys import Run
from workers.campaign.lr_schedule import steps_per_epoch
from workers.campaign.recipe import ConstantSchedule
from workers.datasets import Dataset
from workers.training import Engine
from workers.training.determinism import deterministic
from workers.training.device_data import DeviceData, fits, load_on_device
from workers.training.loop import Trainer
from workers.training.smaller_stacks import train_within_memory
from workers.user_code.boundary import user_code

_CALL_SECONDS = 0.3
"""What is timed is done on more examples until it takes this long."""

_ENOUGH_SECONDS = 2.0
"""What is timed is repeated for this long; of all times the median counts, as other programs may disturb some."""

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

    A stack that does not fit into memory is halved, as in a campaign. Raises ModelError where one model does not fit;
    what a model of the user's own raises passes through.
    """
    return train_within_memory(engine, campaign, device, lambda each: _time_stack(campaign, dataset, each, device))


def _time_stack(campaign: Campaign, dataset: Dataset, engine: Engine, device: torch.device) -> RunTimes:
    # The rate does not matter here, and a schedule may have no value after the recipe's last epoch.
    recipe = campaign.recipe.model_copy(update={"schedule": ConstantSchedule()})
    campaign = campaign.without_scores().model_copy(update={"recipe": recipe})
    runs = [Run(PPM, repetition) for repetition in range(engine.size)]

    def start(count: int) -> Callable[[], Trainer]:
        data = _first_examples(campaign, dataset, count, device)
        return lambda: engine.start(campaign, data, runs)

    partitions = 1 if recipe.curriculum is None else recipe.curriculum.partitions  # an epoch shows one of them
    fewest = min(dataset.num_train, partitions * recipe.batch_size * _FIRST_STEPS[device.type])
    with user_code("model"), deterministic(device, engine.precision):
        training, trained = _measure(start, lambda trainer: trainer.train_epoch, fewest, dataset.num_train)
        evaluating, evaluated = _measure(start, lambda trainer: trainer.evaluate, fewest, dataset.num_train)
        starting = _seconds(start(fewest))
    return RunTimes(
        start=starting / len(runs),
        step=training / steps_per_epoch(recipe, trained) / len(runs),
        evaluation=evaluating / (evaluated + _num_tests(dataset, evaluated)) / len(runs),
    )


def _measure(
    start: Callable[[int], Callable[[], Trainer]],
    choose: Callable[[Trainer], Callable[[], object]],
    fewest: int,
    most: int,
) -> tuple[float, int]:
    """(seconds of what is chosen of a trainer, examples that it had): from `fewest` on, until it takes long enough."""
    count = fewest
    while True:
        action = choose(start(count)())
        action()  # warms up
        seconds = _seconds(action)
        if count == most or seconds >= _CALL_SECONDS:
            return _median_seconds(action), count
        count = min(most, max(2 * count, round(count * _CALL_SECONDS / seconds)))


def _median_seconds(action: Callable[[], object]) -> float:
    taken = [_seconds(action)]
    while sum(taken) < _ENOUGH_SECONDS:
        taken.append(_seconds(action))
    return median(taken)


def _seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _first_examples(campaign: Campaign, dataset: Dataset, count: int, device: torch.device) -> DeviceData:
    """The first `count` training examples and as large a share of the test examples, where the workers have theirs."""
    tests = _num_tests(dataset, count)
    first = replace(
        dataset,
        train_images=dataset.train_images[:count],
        train_labels=dataset.train_labels[:count],
        test_images=dataset.test_images[:tests],
        test_labels=dataset.test_labels[:tests],
    )
    return load_on_device(first, campaign, np.array(first.train_labels), device, streamed=not fits(dataset, device))


def _num_tests(dataset: Dataset, count: int) -> int:
    return -(-dataset.num_test * count // dataset.num_train)
