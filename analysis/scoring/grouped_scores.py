"""Scores of single runs, summed by group of runs: what errors over runs, and halves of runs, need."""

import numpy as np

from analysis.learning.forgetting import Forgetting
from analysis.reading.run_groups import GroupedMeans, number_of_groups
from analysis.statistics.means import group_mean
from workers.campaign.campaign import ratio_to_ppm
from workers.campaign.keys import Run
from workers.common.arrays import Bools, Floats
from workers.store import Store


class GroupedScores:
    """Means of each score over runs, by group of runs, for replicates: without each group, or of some selections.

    12 g N bytes a score and ratio.
    """

    def __init__(self, store: Store, selections: Bools | None = None) -> None:
        self._groups, self._replicates = number_of_groups(store), store.header.replicates
        self._width, self._selections = store.header.num_train, selections
        self._means: dict[tuple[str, int], GroupedMeans] = {}

    def observe(self, run: Run, name: str, values: Floats) -> None:
        """One run's score, float64[N], NaN where it has none."""
        mean = self._means.setdefault((name, run.ratio_ppm), GroupedMeans(self._groups, self._width))
        mean.add(run.repetition // self._replicates % self._groups, values)

    def observe_forgetting(self, run: Run, forgetting: Forgetting, epochs: int) -> None:
        """The scores that one run's forgetting gives, in a training of so many epochs."""
        presented = forgetting.presented
        self.observe(run, "accuracy", group_mean(forgetting.correct, forgetting.presentations, "nan"))
        self.observe(run, "forgettability", np.where(presented, forgetting.forgettability, np.nan))
        learned = np.where(forgetting.learned, forgetting.first_learned, epochs + 1)
        self.observe(run, "learning_epoch", np.where(presented, learned, np.nan))

    def replicates(self, name: str, ratio: float) -> Floats:
        """float64[s, N]: the score without each group, or of each selection of groups, bool[s, g]."""
        mean = self._means[name, ratio_to_ppm(ratio)]
        return mean.without_each() if self._selections is None else mean.over(self._selections)
