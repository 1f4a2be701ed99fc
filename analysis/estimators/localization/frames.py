"""Measurements of probes as tidy data frames: a row for each run and place of the column."""

import numpy as np
import pandas as pd

from analysis.estimators.localization.probe_rows import ProbeRows, find_columns, read_probe, split_members, with_run
from workers.common.arrays import AnyArray, Bools
from workers.store import Store
from workers.store.probe_columns import ProbeColumn

ACCURACIES = ("rewinding", "retraining", "dropout")
"""Probes that count what a changed model gets right, by group of examples."""


def probe_frame(store: Store, name: str, *, ratio: float | None = None) -> pd.DataFrame:
    """A probe's values: run_id, ratio, repetition, a column for each axis, and `value`; missing places are left out.

    Of a probe that counts right answers (`rewinding`, `retraining`, `dropout`) the columns behind the axes are `right`,
    `n` and `accuracy`, NaN where a group has no example. Of `neurons` see `localization.units.example_units`.
    A probe with several columns has their name in `column`. Raises EstimateError where the store has no such probe,
    NoEstimateError where no measured run is committed.
    """
    if name == "neurons":
        from analysis.estimators.localization.units import example_units

        return example_units(store, ratio=ratio)
    columns = find_columns(store, "dropout_right" if name == "dropout" else name)
    rows = read_probe(store, columns, ratio)
    if name in ACCURACIES:
        return _accuracies(columns[0], rows, split_members(store), store.header.num_test)
    frames = [_tidy(column, rows.values[column.name], rows) for column in columns]
    if len(frames) > 1:
        frames = [frame.assign(column=column.name) for frame, column in zip(frames, columns, strict=True)]
    return pd.concat(frames, ignore_index=True)


def _tidy(column: ProbeColumn, values: AnyArray, rows: ProbeRows) -> pd.DataFrame:
    """A row for each run and place, in their order; without the missing ones."""
    names = [axis.name for axis in column.axes]
    index = pd.MultiIndex.from_product([axis.values() for axis in column.axes], names=names)
    missing = column.missing().ravel()[0]
    frames = []
    for run, of_run in zip(rows.runs, values, strict=True):
        frame = index.to_frame(index=False).assign(value=of_run.ravel())
        measured = frame["value"].notna() if column.dtype == "float32" else frame["value"] != missing
        frames.append(with_run(frame if column.dtype == "bool" else frame[measured].copy(), run))
    return pd.concat(frames, ignore_index=True)


def _accuracies(column: ProbeColumn, rows: ProbeRows, split: Bools, num_test: int) -> pd.DataFrame:
    frame = _tidy(column, rows.values[column.name], rows).rename(columns={"value": "right"})
    groups = [str(label) for label in next(axis for axis in column.axes if axis.name == "group").values()]
    sizes = group_sizes(rows.subsets, split, num_test)
    of_run = {run.run_id: place for place, run in enumerate(rows.runs)}
    places = frame["run_id"].map(of_run).to_numpy()
    frame["n"] = sizes[places, frame["group"].map(groups.index)]
    frame["accuracy"] = frame["right"] / frame["n"].where(frame["n"] > 0)
    return frame


def group_sizes(subsets: Bools, split: Bools, num_test: int) -> AnyArray:
    """int64[R, 4] examples of each group, in the order of the columns' labels, for subsets bool[R, N].

    Of the subset outside the split and in it, held out, test: see `workers.training.probes.base.ProbeShape.groups`.
    """
    members = (subsets & ~split, subsets & split, ~subsets)
    return np.stack([*(member.sum(axis=1) for member in members), np.full(len(subsets), num_test)], axis=1)
