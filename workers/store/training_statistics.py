"""Training statistics of a run: sums over the presentations of each training example, epoch after epoch.

With the values v_t of an example at its n presentations so far, in training mode, augmented, before the update:

    mean_margin        mean_t of the label's logit less the largest other one: the area under the margin (G. Pleiss et
                       al., "Identifying mislabeled data using the area under the margin ranking", NeurIPS 2020)
    mean_probability   mean_t of the label's probability: confidence; with
    sd_probability     sqrt(mean_t p_t^2 - (mean_t p_t)^2): variability (S. Swayamdipta et al., "Dataset cartography",
                       EMNLP 2020)
    mean_loss          mean_t of the loss; n times it is the cumulative loss (D. Ravikumar et al., "Towards memorization
                       estimation: fast, formal and free", ICML 2025)
    el2n               ||softmax - onehot(label)||_2 at the first presentation from epoch `early_epoch` on (M. Paul et
                       al., "Deep learning on a data diet", NeurIPS 2021)

Presentations whose logits are not finite have no value. Values are float16, as they would be recorded one by one; sums
are float64, so that the order of workers and resumptions changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.campaign.record import Record

TRAINING_STATISTICS = ("mean_margin", "mean_probability", "sd_probability", "mean_loss", "el2n")
"""Columns of results, float32[N] each: of the presentations from the first epoch to the row's."""

_SUMS = ("count", "margin", "probability", "probability_squares", "loss", "el2n")


def statistic_columns(record: Record) -> tuple[str, ...]:
    """Those that a campaign records."""
    return TRAINING_STATISTICS if record.training_statistics else ()


def early_epoch(epochs: int) -> int:
    """The epoch (from 1) of EL2N: a tenth of them, at least the second one, in which every example was trained on."""
    return min(epochs, max(2, -(-epochs // 10)))


@dataclass(frozen=True)
class TrainingSums:
    """The sums of one run so far: float64[N] by name, changed in place."""

    sums: dict[str, npt.NDArray[np.float64]]

    @classmethod
    def zero(cls, num_train: int) -> "TrainingSums":
        """Before the first epoch."""
        sums = {name: np.zeros(num_train) for name in _SUMS}
        sums["el2n"][:] = np.nan
        return cls(sums)

    def fits(self, num_train: int) -> bool:
        """Whether all sums are there, of so many examples."""
        return set(self.sums) == set(_SUMS) and all(each.shape == (num_train,) for each in self.sums.values())

    def add(self, presented: Mapping[str, npt.NDArray[Any]], is_early: bool) -> None:
        """Add an epoch's presentations: float16[N] by column, NaN where an example has no value.

        `is_early`: from this epoch on an example's first error norm is its EL2N.
        """
        sums = self.sums
        margin, probability, loss = (
            presented[f"presented_{name}"].astype(np.float64) for name in ("margin", "probability", "loss")
        )
        valued = ~np.isnan(margin)
        sums["count"] += valued
        for name, values in (("margin", margin), ("probability", probability), ("loss", loss)):
            sums[name] += np.where(valued, values, 0.0)
        sums["probability_squares"] += np.where(valued, probability**2, 0.0)
        if is_early:
            first = np.isnan(sums["el2n"])
            sums["el2n"][first] = presented["presented_error_norm"][first]

    def statistics(self) -> dict[str, npt.NDArray[np.float32]]:
        """float32[N] by column of results, NaN where an example has no presentation with a value."""
        sums, count = self.sums, np.where(self.sums["count"] > 0, self.sums["count"], np.nan)
        mean = sums["probability"] / count
        variance = np.maximum(sums["probability_squares"] / count - mean**2, 0.0)
        values = (sums["margin"] / count, mean, np.sqrt(variance), sums["loss"] / count, sums["el2n"])
        return {name: value.astype(np.float32) for name, value in zip(TRAINING_STATISTICS, values, strict=True)}
