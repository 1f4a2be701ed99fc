"""Reads measurements of probes from the last row of each measured run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.reading.examples import read_labels
from analysis.reading.selection import select_ratios
from workers.campaign.campaign import PPM
from workers.campaign.keys import Run
from workers.campaign.probes import group_names
from workers.common.arrays import AnyArray, Bools
from workers.errors import EstimateError, NoEstimateError
from workers.store import Store
from workers.store.probe_columns import PROBE_PREFIX, ProbeColumn


@dataclass(frozen=True)
class ProbeRows:
    """R measured runs, ascending: `values` [R, *shape] by column, and their `subsets`, bool[R, N]."""

    runs: list[Run]
    subsets: Bools
    values: dict[str, AnyArray]


def probe_names(store: Store) -> list[str]:
    """The names of the columns of a store's probes, without their prefix."""
    return [column.name.removeprefix(PROBE_PREFIX) for column in store.header.probe_columns]


def find_columns(store: Store, name: str) -> list[ProbeColumn]:
    """The columns of a probe: `probe_NAME` itself, or else all that start with `probe_NAME_`.

    Raises EstimateError where the store has none.
    """
    columns = store.header.probe_columns
    matches = [column for column in columns if column.name == PROBE_PREFIX + name]
    matches = matches or [column for column in columns if column.name.startswith(f"{PROBE_PREFIX}{name}_")]
    if not matches:
        has = ", ".join(probe_names(store)) or "none (record.probes of the campaign declares them)"
        raise EstimateError(f"{store.uri}: has no probe {name!r}; it has {has}")
    return matches


def read_probe(
    store: Store, columns: Iterable[ProbeColumn], ratio: float | None = None, beside: Sequence[str] = ()
) -> ProbeRows:
    """What probes measured of the runs of a ratio, or of all, and vector columns `beside`.

    Runs that diverged, or were not measured, are left out.
    Raises NoEstimateError where no measured run is committed, DamagedFileError for an unreadable shard.
    """
    names = [*(column.name for column in columns), *beside]
    probes = store.header.record.probes
    repetitions = 0 if probes is None else probes.repetitions
    chosen = select_ratios(store, ratio)
    runs: list[Run] = []
    subsets: list[Bools] = []
    values: dict[str, list[AnyArray]] = {name: [] for name in names}
    scanned = ["is_final", "status", "repetition", "subset", *names]
    for shard, table in store.scan(scanned, chosen[0] if len(chosen) == 1 else None):
        if shard.start >= repetitions:
            continue
        repetition = table["repetition"].to_numpy()
        completed = np.array([status == "completed" for status in table["status"].to_pylist()], dtype=bool)
        rows = table.filter(table["is_final"].to_numpy() & completed & (repetition < repetitions))
        if rows.num_rows:
            runs += [Run(shard.ratio_ppm, int(each)) for each in rows["repetition"].to_numpy()]
            subsets.append(store.bits(shard, rows, "subset"))
            for name in names:
                values[name].append(store.vectors(shard, rows, name))
    if not runs:
        raise NoEstimateError(
            f"{store.uri}: has no measured run: probes are of the repetitions under {repetitions}, "
            "and none of these is committed without having diverged"
        )
    return ProbeRows(runs, np.concatenate(subsets), {name: np.concatenate(value) for name, value in values.items()})


def split_members(store: Store) -> npt.NDArray[np.bool_]:
    """bool[N]: the examples that probes compare with the others: those of the campaign's split by scores, or
    without one those whose given label is not the data set's."""
    split = store.split()
    if split is not None:
        return split
    labels = read_labels(store)
    noisy: npt.NDArray[np.bool_] = labels.label != labels.given_label
    return noisy


def compared_groups(store: Store) -> tuple[str, str]:
    """Names of the examples outside the split and in it: clean and noisy, or typical and atypical."""
    probes = store.header.record.probes
    if probes is None:
        raise EstimateError(f"{store.uri}: has no probes")
    return group_names(probes.split)


def with_run(frame: pd.DataFrame, run: Run) -> pd.DataFrame:
    """The frame with the run's run_id, ratio and repetition in front."""
    frame.insert(0, "run_id", run.run_id)
    frame.insert(1, "ratio", run.ratio_ppm / PPM)
    frame.insert(2, "repetition", run.repetition)
    return frame
