"""Table of a search's trials: a row per finished trial, with the values of the searched fields."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from orchestrator.tuning.choice import Choice, TrialResult
from orchestrator.tuning.field_values import field_values, scalar
from orchestrator.tuning.record import FinishedTrial


def trials_frame(
    trial_results: Sequence[TrialResult],
    fields: Sequence[str],
    fresh: Mapping[int, FinishedTrial] | None = None,
    nominated: Choice | None = None,
    chosen: int | None = None,
) -> pd.DataFrame:
    """A row for each finished trial, in the order drawn: metrics, also on fresh subsets, and values of the fields.

    `nominated` is the choice on the search's own subsets, `chosen` the number of the recipe chosen; both are known at
    the search's end.
    """
    as_good = {result.candidate.number for result in nominated.as_good} if nominated else set()
    rows = []
    for result in trial_results:
        last, number = result.trial.last, result.candidate.number
        anew = fresh.get(number) if fresh else None
        row: dict[str, Any] = {
            "trial": number,
            "ended": result.trial.ended,
            "epochs": last.epoch,
            "subset_accuracy": last.subset_accuracy,
            "heldout_accuracy": result.accuracy,
            "difference_to_best": result.accuracy - nominated.most_accurate.accuracy if nominated else None,
            "difference_se": nominated.deviation.difference_se if nominated else None,
            "operations": last.operations,
            "seconds": result.seconds,
            "fresh_subset_accuracy": anew.last.subset_accuracy if anew else None,
            "fresh_heldout_accuracy": anew.last.heldout_accuracy if anew else None,
            "as_good": number in as_good,
            "chosen": number == chosen,
        }
        rows.append(
            row | {field: scalar(value) for field, value in field_values(result.candidate.campaign, fields).items()}
        )
    return pd.DataFrame(rows)
