"""Chooses the best recipe: the cheapest that fits its subsets and is as accurate as any on held-out examples.

As good as any: within one standard error, that of a difference of two recipes, of the best held-out accuracy among the
recipes that fit (the rule of Breiman, Friedman, Olshen & Stone, 1984, for trees). Cost is a run's training:
floating-point operations, the same on every machine and in every repetition, or the seconds that were measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.tuning.candidates import Candidate
from orchestrator.tuning.comparison import PooledDeviation
from orchestrator.tuning.record import FinishedTrial


class Cost(StrEnum):
    """What a run's training costs."""

    operations = "operations"
    seconds = "seconds"


@dataclass(frozen=True)
class TrialResult:
    """A candidate and the trial that trained it."""

    candidate: Candidate
    trial: FinishedTrial

    @property
    def seconds(self) -> float:
        """Of one run's training."""
        return self.trial.seconds

    @property
    def accuracy(self) -> float:
        """Held-out accuracy, the mean over runs and ratios."""
        return self.trial.last.heldout_accuracy

    def is_trial_of(self, other: "TrialResult") -> bool:
        """Whether both are the same recipe and runs. Numbers do not identify these, since the search cuts epochs."""
        return self.trial.key == other.trial.key

    def cost(self, cost: Cost) -> float:
        """Operations or seconds of one run's training."""
        return self.seconds if cost is Cost.seconds else self.trial.last.operations


@dataclass(frozen=True)
class Choice:
    """The recipe chosen; `as_good` are all within a standard error of the most accurate one, cheapest first."""

    chosen: TrialResult
    most_accurate: TrialResult
    as_good: Sequence[TrialResult]
    deviation: PooledDeviation
    """Of the recipes that fit."""


def choose(trial_results: Sequence[TrialResult], cost: Cost) -> Choice | None:
    """The choice among those that fit, all of which trained the same runs; None where none does.

    Ties go to the more accurate, then to the first drawn.
    """
    fitted = [result for result in trial_results if result.trial.ended == "fitted"]
    if not fitted:
        return None
    deviation = PooledDeviation.of([each.trial.last.heldout_by_run for each in fitted])
    best = max(fitted, key=lambda each: (each.accuracy, -each.candidate.number))
    threshold = best.accuracy - deviation.difference_se
    as_good = sorted(
        (each for each in fitted if each.accuracy >= threshold),
        key=lambda each: (each.cost(cost), -each.accuracy, each.candidate.number),
    )
    return Choice(as_good[0], best, as_good, deviation)


def choose_including_given(measured: Sequence[TrialResult], given: TrialResult | None, cost: Cost) -> Choice | None:
    """The choice among recipes measured on the same fresh subsets, the one given with them.

    A recipe that costs more than the one given is chosen only where its gain is outside of the error (95%). Where the
    one given is among those measured, its trial counts once: as another recipe it would differ from itself by nothing,
    and pull the pooled deviation down.
    """
    others = measured if given is None else [result for result in measured if not result.is_trial_of(given)]
    choice = choose([*others, *([given] if given else [])], cost)
    if choice is None or given is None or given.trial.ended != "fitted" or choice.chosen is given:
        return choice
    low, _ = choice.deviation.interval(choice.chosen.accuracy - given.accuracy)
    if choice.chosen.cost(cost) >= given.cost(cost) and low <= 0:
        return Choice(given, choice.most_accurate, choice.as_good, choice.deviation)
    return choice
