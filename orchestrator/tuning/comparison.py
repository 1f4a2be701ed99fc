"""Precision of comparisons between recipes: pooled deviations, differences paired by run.

All trials of a search train the same runs: the same subsets, seeds and orders. The held-out accuracy of recipe t in
run k is therefore taken as

    x[t, k] = mean[t] + subset[k] + residual[t, k],

where subset[k] is common to all recipes and cancels in their differences (a randomised block design; Box, Hunter &
Hunter, Statistics for Experimenters, 2005, ch. 4). The standard deviation of a single trial's three or four runs has
two or three degrees of freedom and is off by a factor of two as often as not; the residuals of all trials together have
(T - 1)(R - 1). Recipes are assumed to have one residual variance, so only trials that fit their subsets are pooled.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np


@dataclass(frozen=True)
class PooledDeviation:
    """Standard deviations of held-out accuracy over runs, pooled over the recipes that trained the same runs."""

    runs: int
    recipe: float
    """Of one recipe's runs, subset effects included."""
    residual: float
    """Of what is left without the subsets' common effects: what differences of two recipes are made of."""
    degrees: int
    """Degrees of freedom of `residual`."""

    @classmethod
    def of(cls, accuracies: Sequence[Sequence[float]]) -> "PooledDeviation":
        """Of accuracies [T][R], T >= 1 recipes in the same R >= 2 runs.

        A single recipe has no differences: its own deviation stands for the residual one, which is no larger.
        """
        table = np.asarray(accuracies, dtype=np.float64)
        recipes, runs = table.shape
        centred = table - table.mean(axis=1, keepdims=True)
        recipe = sqrt(float(np.square(centred).sum()) / (recipes * (runs - 1)))
        if recipes == 1:
            return cls(runs, recipe, recipe, runs - 1)
        degrees = (recipes - 1) * (runs - 1)
        residual = centred - centred.mean(axis=0)
        return cls(runs, recipe, sqrt(float(np.square(residual).sum()) / degrees), degrees)

    @property
    def mean_se(self) -> float:
        """Standard error of one recipe's mean accuracy: over fresh subsets, as an estimate for all subsets."""
        return self.recipe / sqrt(self.runs)

    @property
    def difference_se(self) -> float:
        """Standard error of the difference of two recipes' means over the same runs."""
        return self.residual * sqrt(2 / self.runs)

    def interval(self, difference: float) -> tuple[float, float]:
        """95% t interval of a difference of two recipes' means."""
        from scipy import stats

        half = float(stats.t.ppf(0.975, self.degrees)) * self.difference_se
        return difference - half, difference + half
