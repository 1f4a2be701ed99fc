"""RMIA, the robust membership inference attack, with the other runs of a store as reference models.

An example x is compared with every example z of a population that no model trained on, here the test examples:

    score(x) = Pr_z[ (p(x | target) / p(x)) / (p(z | target) / p(z)) >= 1 ]

p(x | target) is the probability that the target gives to x's label, and p(x) its mean over reference models, half of
weight on those that trained on x. Offline there are none of these, and p(x) = ((1 + a) p_out(x) + 1 - a) / 2; so is
p(z), which online is the mean over all reference models. S. Zarifzadeh, P. Liu, R. Shokri, "Low-cost high-power
membership inference attacks", ICML 2024, with gamma = 1 as in the authors' code, which adds ties to the other side.
The score has T + 1 values: with few test examples many non-members tie with members at its highest value.
"""

import numpy as np

from analysis.statistics.leave_one_out import leave_one_out_mean
from workers.common.arrays import Bools, Floats

OFFLINE_A = 0.3
"""The authors' value for CIFAR-10."""

_SMALLEST = 1e-30
"""No probability is 0: a ratio of two such would be undefined."""


class Population:
    """The ratios p(z | target) / p(z) of the test examples, each target's ascending: two arrays float64[K, T]."""

    def __init__(self, confidence: Floats, offline_a: float) -> None:
        probability = _probability(confidence)
        mean = leave_one_out_mean(probability, np.ones(probability.shape, dtype=bool))
        self._a = offline_a
        self._ratios = {
            "rmia_online": np.sort(probability / mean, axis=1),
            "rmia_offline": np.sort(probability / self._offline(mean), axis=1),
        }

    def scores(self, confidence: Floats, members: Bools) -> dict[str, Floats]:
        """The scores of targets and examples, float64[K, b], by attack: high for members; NaN without test examples.

        `confidence` float64[K, b] is the runs', and `members` bool[K, b] tells which trained on which example.
        """
        probability = _probability(confidence)
        inside, outside = (leave_one_out_mean(probability, chosen) for chosen in (members, ~members))
        means = {"rmia_online": (inside + outside) / 2, "rmia_offline": self._offline(outside)}
        return {name: self._share_below(name, probability / mean) for name, mean in means.items()}

    def _offline(self, outside: Floats) -> Floats:
        return ((1 + self._a) * outside + 1 - self._a) / 2

    def _share_below(self, name: str, ratios: Floats) -> Floats:
        population = self._ratios[name]
        if not population.shape[1]:
            return np.full(ratios.shape, np.nan)
        counts = [np.searchsorted(row, of_target, "right") for row, of_target in zip(population, ratios, strict=True)]
        shares: Floats = np.array(counts) / population.shape[1]
        return shares


def _probability(confidence: Floats) -> Floats:
    from scipy.special import expit

    probability: Floats = np.maximum(expit(confidence), _SMALLEST)
    return probability
