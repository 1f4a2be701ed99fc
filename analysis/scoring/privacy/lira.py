"""LiRA, the likelihood-ratio attack, with the other runs of a store as shadow models.

With phi = log(p / (1 - p)) the target's confidence of the label of example x (`analysis.reading.run_outputs`), and
normal distributions fitted to the confidences of shadow models that trained on x (in) and that did not (out),

    online     log N(phi; mu_in, s_in^2) - log N(phi; mu_out, s_out^2)
    offline    (phi - mu_out) / s_out, which ranks as Pr[Z <= phi], Z ~ N(mu_out, s_out^2)

N. Carlini, S. Chien, M. Nasr, S. Song, A. Terzis, F. Tramer, "Membership inference attacks from first principles", IEEE
S&P 2022, algorithm 1 and equation 4. Their variances are of each example, or, of few shadow models, one for all
examples: here the mean squared deviation from each example's own mean. Variances have n - 1 in the denominator.
"""

from typing import Literal

import numpy as np

from analysis.statistics.leave_one_out import Moments
from workers.common.arrays import Floats

Variance = Literal["example", "pooled"]

ENOUGH_SHADOWS = 64
"""From so many shadow models on, variances are of each example, as in the paper."""

MIN_SD = 2.0**-11
"""float16 rounds a loss by up to so large a part of itself, which moves the confidence as far: less is no deviation."""


def lira_scores(
    confidence: Floats, inside: Moments, outside: Moments, variances: tuple[Floats, Floats]
) -> dict[str, Floats]:
    """The scores of targets and examples, float64[K, b], by attack: high for members.

    `confidence` is the targets'; `inside` and `outside` are of each target's shadow models. `variances` (in, out) are
    [K, b] or [K, 1].
    """
    within, without = (np.maximum(variance, MIN_SD**2) for variance in variances)
    ours, theirs = (confidence - inside.mean) ** 2 / within, (confidence - outside.mean) ** 2 / without
    return {
        "lira_online": (theirs - ours + np.log(without) - np.log(within)) / 2,
        "lira_offline": (confidence - outside.mean) / np.sqrt(without),
    }


class PooledVariance:
    """One variance of all examples for each target: sums of squared deviations and of degrees of freedom, growing."""

    def __init__(self, targets: int) -> None:
        self._squares, self._degrees = np.zeros((2, targets, 1))

    def add(self, moments: Moments) -> None:
        """More examples."""
        some = moments.n > 1
        self._squares += np.where(some, moments.squares, 0.0).sum(axis=1, keepdims=True)
        self._degrees += np.where(some, moments.n - 1, 0.0).sum(axis=1, keepdims=True)

    @property
    def variance(self) -> Floats:
        """float64[K, 1]; NaN where no example has two shadow models."""
        return np.where(self._degrees > 0, self._squares, np.nan) / np.maximum(self._degrees, 1)
