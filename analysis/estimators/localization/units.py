"""Units to flip a prediction (Maini et al. 2023, section 5): their number for each example, and their layers."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.estimators.localization.probe_rows import (
    compared_groups,
    find_columns,
    read_probe,
    split_members,
    with_run,
)
from analysis.statistics.detection import area_under_curve
from workers.common.arrays import AnyArray
from workers.store import Store
from workers.store.probe_columns import CENSORED


def example_units(store: Store, *, ratio: float | None = None) -> pd.DataFrame:
    """A row for each measured run and sampled example: run_id, ratio, repetition, example_id, group, units, censored,
    layer (of its first unit), layers (number of different ones), and the accuracies of the model without the units.

    `group` is clean or noisy, or with a split by scores typical or atypical. `units` of a censored example is the
    number that was tried. `accuracy_GROUP` and `before_GROUP` are over the run's fixed sample of each group, with the
    example's units removed and before. Raises EstimateError as `probe_frame`.
    """
    columns = {column.name.removeprefix("probe_neurons_"): column for column in find_columns(store, "neurons")}
    rows = read_probe(store, columns.values(), ratio)
    values = {name: rows.values[column.name] for name, column in columns.items()}
    group = np.where(split_members(store), *reversed(compared_groups(store)))
    layers = [] if store.header.probes is None else list(store.header.probes.layers)
    groups = [str(label) for label in columns["evaluated"].axes[0].values()]
    frames = [
        with_run(_of_run({name: value[place] for name, value in values.items()}, group, layers, groups), run)
        for place, run in enumerate(rows.runs)
    ]
    return pd.concat(frames, ignore_index=True)


def _of_run(values: Mapping[str, AnyArray], group: AnyArray, layers: list[str], groups: list[str]) -> pd.DataFrame:
    sampled = values["example"] >= 0
    example, units = values["example"][sampled], values["units"][sampled].astype(np.int64)
    sampled_layers = values["layer"][sampled]
    censored = units == CENSORED
    tried = (sampled_layers >= 0).sum(axis=1)
    evaluated = np.where(values["evaluated"] > 0, values["evaluated"], 0)
    right = values["right"][sampled].astype(np.float64)
    first = sampled_layers[:, 0] if sampled_layers.shape[1] else np.full(len(sampled_layers), -1)
    frame = pd.DataFrame(
        {
            "example_id": example.astype(np.int64),
            "group": group[example],
            "units": np.where(censored, tried, units),
            "censored": censored,
            "layer": [layers[each] if 0 <= each < len(layers) else None for each in first],
            "layers": [len(set(row[row >= 0].tolist())) for row in sampled_layers],
        }
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        for place, name in enumerate(groups):
            count = float(evaluated[place]) or np.nan
            frame[f"accuracy_{name}"] = right[:, place] / count
            frame[f"before_{name}"] = values["before"][place] / count
    return frame


def units_summary(units: pd.DataFrame) -> pd.DataFrame:
    """A row for each run and group: sampled, n, median, under_10, censored, layers, mean accuracies.

    Of the `sampled` examples n are predicted as their given label; all that follows is of these. `under_10` is the
    share that needs fewer than 10 units, `censored` that of those not flipped; `accuracy_test` is that of the edited
    models, `before_test` that of the model itself, and so on.
    """
    order = units.assign(needed=np.where(units["censored"], np.inf, units["units"]))
    sampled = order.groupby(["run_id", "ratio", "repetition", "group"], sort=False).size()
    order = order[order["needed"] > 0]
    grouped = order.groupby(["run_id", "ratio", "repetition", "group"], sort=False)
    parts = {
        "sampled": sampled,
        "n": grouped.size(),
        "median": grouped["needed"].median(),
        "under_10": grouped["needed"].agg(lambda needed: (needed < 10).mean()),
        "censored": grouped["censored"].mean(),
        "layers": grouped["layers"].mean(),
    }
    for name in units.columns:
        if name.startswith(("accuracy_", "before_")):
            parts[name] = grouped[name].mean()
    return pd.DataFrame(parts).reset_index()


def units_detection(units: pd.DataFrame, group: str = "noisy") -> pd.DataFrame:
    """A row for each run: the AUC of minus the number of units as a detector of a group; censored ones last.

    `auc_se` is DeLong's, over the sampled examples. NaN where a run's sample has no example of the group, or no other.
    """
    rows = []
    for (run_id, ratio, repetition), of_run in units.groupby(["run_id", "ratio", "repetition"], sort=False):
        needed = np.where(of_run["censored"], of_run["units"].max() + 1.0, of_run["units"])
        auc, se = area_under_curve(-needed, (of_run["group"] == group).to_numpy(dtype=bool))
        rows.append({"run_id": run_id, "ratio": ratio, "repetition": repetition, "auc": auc, "auc_se": se})
    return pd.DataFrame(rows, columns=["run_id", "ratio", "repetition", "auc", "auc_se"])
