"""Which of a search's recipes is best: the cheapest that fits its subsets and is as good as any on held-out examples.

As good as any: within one standard error of the best held-out accuracy among the recipes that fit (the rule of
Breiman, Friedman, Olshen & Stone, 1984, for trees). Cost is a run's training: floating-point operations, the same on
every machine and in every repetition, or the seconds that were measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pandas as pd

from orchestrator.search.candidates import Candidate
from orchestrator.search.record import FinishedTrial


class Cost(StrEnum):
    """What a run's training costs."""

    operations = "operations"
    seconds = "seconds"


@dataclass(frozen=True)
class Tried:
    """A candidate and what became of it."""

    candidate: Candidate
    trial: FinishedTrial

    @property
    def seconds(self) -> float:
        """Of one run's training."""
        return self.trial.seconds

    def cost(self, cost: Cost) -> float:
        """Operations or seconds of one run's training."""
        return self.seconds if cost is Cost.seconds else self.trial.last.operations


@dataclass(frozen=True)
class Choice:
    """The recipe chosen; `as_good` are all within a standard error of the most accurate one, cheapest first."""

    chosen: Tried
    most_accurate: Tried
    as_good: Sequence[Tried]


def choose(tried: Sequence[Tried], cost: Cost) -> Choice | None:
    """The choice among those that fit; None where none does. Ties go to the more accurate, then to the first drawn."""
    fitted = [each for each in tried if each.trial.ended == "fitted"]
    if not fitted:
        return None
    best = max(fitted, key=lambda each: (each.trial.last.heldout_accuracy, -each.candidate.number))
    enough = best.trial.last.heldout_accuracy - best.trial.last.heldout_se
    as_good = sorted(
        (each for each in fitted if each.trial.last.heldout_accuracy >= enough),
        key=lambda each: (each.cost(cost), -each.trial.last.heldout_accuracy, each.candidate.number),
    )
    return Choice(as_good[0], best, as_good)


def trials_frame(
    tried: Sequence[Tried], fresh: Mapping[int, FinishedTrial], choice: Choice | None, fields: Sequence[str]
) -> pd.DataFrame:
    """A row for each finished trial, in the order drawn: figures, also on fresh subsets, and values of the fields."""
    as_good = {each.candidate.number for each in choice.as_good} if choice else set()
    rows = []
    for each in tried:
        last, number = each.trial.last, each.candidate.number
        anew = fresh.get(number)
        row: dict[str, Any] = {
            "trial": number,
            "ended": each.trial.ended,
            "epochs": last.epoch,
            "subset_accuracy": last.subset_accuracy,
            "heldout_accuracy": last.heldout_accuracy,
            "heldout_se": last.heldout_se,
            "operations": last.operations,
            "seconds": each.seconds,
            "fresh_subset_accuracy": anew.last.subset_accuracy if anew else None,
            "fresh_heldout_accuracy": anew.last.heldout_accuracy if anew else None,
            "as_good": number in as_good,
            "chosen": choice is not None and number == choice.chosen.candidate.number,
        }
        rows.append(row | {field: _cell(_value(each.candidate, field)) for field in fields})
    return pd.DataFrame(rows)


def differing(candidate: Candidate) -> str:
    """Where a candidate differs from the campaign given, in words."""
    if not candidate.values:
        return "as given"
    return ", ".join(f"{field.rpartition('.')[2]} {_short(value)}" for field, value in candidate.values.items())


def _value(candidate: Candidate, field: str) -> Any:
    """A field's value in the candidate's campaign; None where it has no such field."""
    at: Any = candidate.campaign.model_dump(mode="json")
    for part in field.split("."):
        at = at.get(part) if isinstance(at, Mapping) else None
    return at


def _cell(value: Any) -> Any:
    """A value that a column can hold: what is not a number is text."""
    return value if value is None or isinstance(value, int | float) else _short(value)


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        told = {key: each for key, each in value.items() if key != "name" and each not in (0, None)}
        inner = ", ".join(f"{key} {_short(each)}" for key, each in told.items())
        return f"{value.get('name', '')}" + (f" ({inner})" if inner else "")
    return f"{value:g}" if isinstance(value, float) else str(value)
