"""Accuracy lost when the memorization units of example-tied dropout are dropped (Maini et al. 2023, section 6)."""

import numpy as np
import pandas as pd

from analysis.estimators.localization.probe_rows import (
    ProbeRows,
    compared_groups,
    find_columns,
    read_probe,
    split_members,
)
from analysis.reading.examples import read_labels
from workers.common.arrays import Bools
from workers.store import Store

BEFORE = "own"
"""The mode with which dropping is compared: each training example with the channels that it was trained with."""


def dropped_examples(store: Store, *, ratio: float | None = None) -> pd.DataFrame:
    """A row for each training example, those lost in most runs first: example_id, label, given_label, group, runs,
    before, after, lost.

    `group` is clean or noisy, or with a split by scores typical or atypical. `runs` are the measured
    runs that trained on it; `before` the share of them that predict it with its own memorization channels, `after` with
    all dropped, `lost` that of those that predict it before and not after. NaN without a run.

    Raises EstimateError where the store has no probe of dropout.
    """
    rows, before, after = _predictions(store, ratio)
    with np.errstate(invalid="ignore"):
        runs = rows.subsets.sum(axis=0)
        shares = {
            "before": (before & rows.subsets).sum(axis=0) / runs,
            "after": (after & rows.subsets).sum(axis=0) / runs,
            "lost": (before & ~after & rows.subsets).sum(axis=0) / runs,
        }
    group = np.where(split_members(store), *reversed(compared_groups(store)))
    frame = read_labels(store).columns().assign(group=group, runs=runs, **shares)
    return frame.sort_values(["lost", "example_id"], ascending=[False, True], kind="stable", ignore_index=True)


def lost_of_runs(store: Store, *, ratio: float | None = None) -> pd.DataFrame:
    """A row for each measured run and example of its subset: run_id, example_id, `lost`, which is 1 where the run
    predicts the example with its own memorization channels and not with all dropped.

    Raises EstimateError as `dropped_examples`.
    """
    rows, before, after = _predictions(store, ratio)
    place, example = np.nonzero(rows.subsets)
    run_ids = np.array([run.run_id for run in rows.runs])
    lost = (before & ~after)[place, example]
    return pd.DataFrame({"run_id": run_ids[place], "example_id": example, "lost": lost.astype(np.float64)})


def _predictions(store: Store, ratio: float | None) -> tuple[ProbeRows, Bools, Bools]:
    """The measured runs, and bool[R, N]: right with the example's own memorization channels, and with all dropped."""
    (column,) = find_columns(store, "dropout_correct")
    rows = read_probe(store, [column], ratio, beside=("train_correct",))
    mode = list(column.axes[0].values()).index(BEFORE)
    return rows, rows.values[column.name][:, mode], rows.values["train_correct"]
