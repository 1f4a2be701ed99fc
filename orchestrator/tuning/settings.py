"""Settings of a recipe search."""

from dataclasses import dataclass
from pathlib import Path

from orchestrator.tuning.choice import Cost

_FRESH_FACTOR = 4
"""Fresh runs for each run of a trial: the few recipes that are left are compared at half of the error."""


@dataclass(frozen=True)
class Search:
    """What is searched. `runs` is the number of models of each trial at each ratio; no `minutes`: no limit.

    `fresh_runs` is that of the recipes which are measured on fresh subsets; None: four times `runs`.
    """

    fit: float = 0.99
    trials: int = 40
    runs: int = 4
    seed: int = 0
    max_epochs: int | None = None
    """None: twice the campaign's, or what the space asks for."""
    ratios: tuple[float, ...] | None = None
    """None: the campaign's smallest and largest. The smallest has the fewest updates, the largest most to fit."""
    space: Path | None = None
    """None: `default_space`."""
    cost: Cost = Cost.operations
    early_stopping: bool = True
    minutes: float | None = None
    fresh_runs: int | None = None

    @property
    def fresh_count(self) -> int:
        """Runs at each ratio on fresh subsets."""
        return self.fresh_runs or _FRESH_FACTOR * self.runs
