"""The learning rate of a group of weights, where an update reads it."""

from collections.abc import Sequence
from typing import Any

import torch

from workers.models.stacking import Weight


class ScheduledRate:
    """A recipe's learning rate times the schedule's factor at a step."""

    def __init__(self, learning_rate: float, weights: Sequence[Weight]) -> None:
        self.learning_rate = learning_rate
        device = weights[0].master.device if weights else torch.device("cpu")
        # On a GPU the rate lies there, so that a captured step sees it change.
        self.value: Any = torch.tensor(learning_rate, device=device) if device.type == "cuda" else 0.0

    def set_factor(self, factor: float) -> None:
        """The schedule's factor at the next steps."""
        rate = self.learning_rate * factor
        if isinstance(self.value, torch.Tensor):
            self.value.fill_(rate)
        else:
            self.value = rate
