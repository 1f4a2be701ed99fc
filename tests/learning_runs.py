"""Random runs with presentations, and slow, obvious references of what is made of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from tests.synthetic import Runs
from workers.store.schema import PRESENTED, PRESENTED_MARGIN, PROBABILITIES


def learning_runs(
    random: np.random.Generator, num_runs: int, num_train: int, epochs: int, ratio: float, **runs: Any
) -> Runs:
    """Random bits and values; an epoch leaves a tenth of the subset out, and some values are not finite.

    Examples that are in no subset, or in all, happen. Evaluated at every epoch.
    """
    subsets = random.random((num_runs, num_train)) < ratio
    shown = subsets[:, None] & (random.random((num_runs, epochs, num_train)) < 0.9)
    presented: dict[str, Any] = {
        PRESENTED[0]: shown,
        PRESENTED[1]: shown & (random.random(shown.shape) < 0.6),
    }
    finite = shown & (random.random(shown.shape) < 0.97)
    for place, name in enumerate(PROBABILITIES):
        values = random.random(shown.shape) * (1 + 9 * (place == 2))
        presented[name] = np.where(finite, values, np.nan).astype(np.float16)
    evaluated = [
        (random.random((num_runs, num_train)) < 0.6, random.random((num_runs, 3)) < 0.6) for _ in range(epochs)
    ]
    margins = random.normal(0, 3, shown.shape)
    presented[PRESENTED_MARGIN] = np.where(finite, margins, np.nan).astype(np.float16)
    train, test = evaluated.pop()
    return Runs(subsets, train, test, earlier=evaluated, presented=presented, **runs)


def slow_statistic(runs: Runs, column: str, i: int, of_run: Any = np.mean) -> tuple[int, float, float]:
    """(runs, mean, standard error) of an example's value, `of_run` of a list per run, then of a list over runs."""
    of_runs = []
    for k in range(len(runs.subsets)):
        seen = [float(value) for value in runs.presented[column][k, :, i] if value == value]
        if seen and k not in runs.diverged:
            of_runs.append(float(of_run(seen)))
    return len(of_runs), *mean_and_error(of_runs)


def slow_learning_epoch(runs: Runs, i: int) -> tuple[float, float]:
    """(mean, standard error) over the runs that showed an example; one that never learned it counts as E + 1."""
    shown, right = (runs.presented[name] for name in PRESENTED)
    epochs = []
    for k in range(len(runs.subsets)):
        if shown[k, :, i].any() and k not in runs.diverged:
            learned = [epoch for epoch in range(shown.shape[1]) if shown[k, epoch, i] and right[k, epoch, i]]
            epochs.append(learned[0] + 1 if learned else shown.shape[1] + 1)
    return mean_and_error(epochs)


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """NaN where there are too few."""
    series = pd.Series(values, dtype=float)
    average, error = series.agg(["mean", "sem"]).tolist()
    return average, error
