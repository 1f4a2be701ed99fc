"""Rank correlation of what probes measured of each example with a score of the same examples, such as mem or a C-score.

What is lost by dropping memorization units should be what is memorized; the number of units that flip a prediction
should fall with it (Maini et al. 2023, sections 5 and 6).
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.estimators.localization.dropped import lost_of_runs
from analysis.estimators.localization.probe_rows import compared_groups, probe_names, split_members
from analysis.estimators.localization.units import example_units
from analysis.reading.examples import read_labels
from analysis.scoring.agreement import spearman
from analysis.scoring.agreement_errors import Side, measure_errors, of_examples
from analysis.scoring.matching import Matched, match_examples
from analysis.scoring.scores import Scores, known_fingerprint
from workers.common.arrays import Bools, Floats
from workers.errors import EstimateError
from workers.store import Store

ALL = "all"
"""The group of all training examples."""


def correlate_probes(
    store: Store, scores: Scores, *, ratio: float | None = None, confidence: float = 0.95
) -> pd.DataFrame:
    """Spearman's correlation of probes' values with scores of the same examples: value, group, examples, spearman, se,
    low, high, over.

    `value` is `lost` (the share of the runs that lose an example when the memorization units are dropped) and `units`
    (the mean number that flips its prediction; one more than was tried where none did). `group` is each of the two
    groups of examples, and all. Limits are over examples, over the measured runs from two on, and over those of
    `scores` where they are known: the jackknife of `agreement_errors`.

    Raises EstimateError where the store has neither probe, where the scores are not of the same examples,
    and where none of them has a value.
    """
    names = probe_names(store)
    values = {value: read for value, (probe, read) in _VALUES.items() if any(name.startswith(probe) for name in names)}
    if not values:
        raise EstimateError(f"{store.uri}: has no values to compare with scores: the probes are dropout and neurons")
    split = split_members(store)
    groups = dict(zip(compared_groups(store), (~split, split), strict=True)) | {ALL: np.ones(len(split), dtype=bool)}
    rows = []
    for name, read in values.items():
        measured = _scores(store, read(store, ratio))
        shared = match_examples(measured, scores)
        for group, members in groups.items():
            correlated = _spearman(measured, scores, _within(shared, members), confidence)
            rows.append({"value": name, "group": group} | correlated)
    if not any(row["examples"] for row in rows):
        raise EstimateError(f"{scores.source}: has no score of an example that the probes of {store.uri} measured")
    return pd.DataFrame(rows)


def _lost(store: Store, ratio: float | None) -> pd.DataFrame:
    return lost_of_runs(store, ratio=ratio).rename(columns={"lost": "value"})


def _units(store: Store, ratio: float | None) -> pd.DataFrame:
    units = example_units(store, ratio=ratio)
    units["value"] = units["units"] + units["censored"].astype(float)
    return units.loc[units["value"] > 0, ["run_id", "example_id", "value"]]


_VALUES: dict[str, tuple[str, Callable[[Store, float | None], pd.DataFrame]]] = {
    "lost": ("dropout", _lost),
    "units": ("neurons", _units),
}
"""The value's name: its probe, and what reads it as run_id, example_id, value."""


def _scores(store: Store, of_runs: pd.DataFrame) -> Scores:
    """The mean of each example over the runs with a value, and without each run."""
    count = store.header.num_train
    table = of_runs.pivot(index="run_id", columns="example_id", values="value").reindex(columns=range(count))
    values = table.to_numpy(dtype=np.float64)
    without = [_mean_over_runs(np.delete(values, run, axis=0)) for run in range(len(values))]
    replicates = np.array(without) if len(values) > 1 else None
    labels, known = read_labels(store).label, known_fingerprint(store)
    return Scores(store.uri, "probes", labels, _mean_over_runs(values), known, store.names[0], replicates)


def _within(shared: Matched, members: Bools) -> Matched:
    """The shared examples that are members of a group, bool[N] of the store's examples."""
    inside = members[shared.a]
    return Matched(shared.a[inside], shared.b[inside])


def _spearman(measured: Scores, scores: Scores, shared: Matched, confidence: float) -> dict[str, object]:
    valued = np.isfinite(measured.values[shared.a]) & np.isfinite(scores.values[shared.b])
    a, b = (
        Side(side.values[ids], of_examples(side.replicates, ids))
        for side, ids in ((measured, shared.a[valued]), (scores, shared.b[valued]))
    )
    (row,) = measure_errors(a, b, {"spearman": spearman}, {}, confidence).to_dict("records")
    limits = {key: row[key] for key in ("se", "low", "high", "over")}
    return {"examples": int(valued.sum()), "spearman": row["value"], **limits}


def _mean_over_runs(table: NDArray[np.float64]) -> Floats:
    """float64[n] means of those runs that have a value; NaN where none has."""
    known = np.isfinite(table)
    with np.errstate(invalid="ignore"):
        means: Floats = np.where(known, table, 0.0).sum(axis=0) / known.sum(axis=0)
    return means
