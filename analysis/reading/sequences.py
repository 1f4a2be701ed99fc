"""Correctness of training examples over consecutive epochs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from analysis.reading.selection import select_ratios
from analysis.reading.subset_groups import shared_subset
from workers.campaign.keys import Run, Shard
from workers.common.arrays import Bools
from workers.errors import EstimateError, NoEstimateError
from workers.store import Store
from workers.store.schema import PRESENTED, PRESENTED_MARGIN, PRESENTED_VALUES, presentation_columns

At = Literal["presentations", "evaluations", "heldout"]
"""When examples are looked at: whenever training shows them (train mode, augmented, before the update); at the
evaluations of recorded epochs, those trained on; or those that were not."""


@dataclass(frozen=True)
class RunSequence:
    """One run that did not diverge: `correct` bool[E, N] at epochs int64[E]; `seen` bool[E, N]: whether measured.

    `correct` is false where it was not. `values` are float16[E, N] by column: NaN there, and where a logit was not
    finite. `group` is the number of the run's subset where runs share subsets.
    """

    run: Run
    epochs: npt.NDArray[np.int64]
    seen: Bools
    correct: Bools
    values: Mapping[str, npt.NDArray[np.float16]]
    group: int | None = None


def check_recorded(store: Store, at: At, values: Sequence[str] = ()) -> None:
    """Raise EstimateError where the store's campaign does not record what `scan_sequences` would need."""
    if at not in get_args(At):
        raise EstimateError(f"at must be one of {', '.join(get_args(At))}, got {at!r}")
    record = store.header.record
    if at == "presentations" and not record.presentations:
        raise EstimateError(f"{store.uri}: has no presentations: record.presentations must be true, got False")
    lacking = set(values) - set(presentation_columns(record))
    if lacking == {PRESENTED_MARGIN}:
        raise EstimateError(f"{store.uri}: has no margins: record.presented_margin must be true, got False")
    if lacking:
        raise EstimateError(f"{store.uri}: has no probabilities: record.probabilities must be true, got False")
    if at != "presentations" and store.header.rows_per_run < 2:
        raise EstimateError(
            f"{store.uri}: has one evaluation of each run: record.epochs must be all or a number, got {record.epochs!r}"
        )


def scan_sequences(
    store: Store, at: At = "presentations", ratio: float | None = None, values: Sequence[str] = ()
) -> Iterator[RunSequence]:
    """Run by run, ascending; `values` name columns of `workers.store.schema.PRESENTED_VALUES`. Diverged runs are left
    out.

    Holds one row group of the store at a time. Raises EstimateError as `check_recorded` and for a ratio that has no
    committed run, DamagedFileError for an unreadable shard.
    """
    check_recorded(store, at, values)
    columns = ["repetition", "epoch", "status", "subset", "train_correct"]
    if at == "presentations":
        columns = ["repetition", "epoch", "status", *PRESENTED, *(name for name in PRESENTED_VALUES if name in values)]
    chosen = select_ratios(store, ratio)
    for shard, table in store.scan(columns, chosen[0] if len(chosen) == 1 else None):
        for repetition, start, stop in _runs(table):
            if table["status"][start].as_py() != "diverged":
                rows = table.slice(start, stop - start)
                yield (_presented if at == "presentations" else _evaluated)(store, shard, rows, repetition, at)


def no_run_error(store: Store) -> NoEstimateError:
    """The error of an estimate from sequences where there was none: they leave out runs that diverged."""
    return NoEstimateError(f"{store.uri}: has no run to estimate from, all that are committed diverged")


def _runs(table: pa.Table) -> Iterator[tuple[int, int, int]]:
    """(repetition, first row, row behind the last) of each run."""
    repetitions = table["repetition"].to_numpy()
    starts = [*np.flatnonzero(np.diff(repetitions, prepend=-1)).tolist(), len(repetitions)]
    for start, stop in pairwise(starts):
        yield int(repetitions[start]), start, stop


def _presented(store: Store, shard: Shard, rows: pa.Table, repetition: int, at: At) -> RunSequence:
    recorded = rows["epoch"].to_numpy()
    used = np.diff(recorded, prepend=0)
    """Slots of each row: its epochs since the row before."""
    slots = {
        name: store.vectors(shard, rows, name) for name in (*PRESENTED, *PRESENTED_VALUES) if name in rows.column_names
    }

    def joined(name: str) -> npt.NDArray[Any]:
        return np.concatenate([row[:count] for row, count in zip(slots[name], used, strict=True)])

    shown, correct = map(joined, PRESENTED)
    values = {name: joined(name) for name in PRESENTED_VALUES if name in slots}
    run, epochs = Run(shard.ratio_ppm, repetition), np.arange(1, recorded[-1] + 1)
    return RunSequence(run, epochs, shown, correct, values, shared_subset(store, repetition))


def _evaluated(store: Store, shard: Shard, rows: pa.Table, repetition: int, at: At) -> RunSequence:
    subset, correct = (store.bits(shard, rows, name) for name in ("subset", "train_correct"))
    seen = subset if at == "evaluations" else ~subset
    epochs = rows["epoch"].to_numpy().astype(np.int64)
    run = Run(shard.ratio_ppm, repetition)
    return RunSequence(run, epochs, seen, correct & seen, {}, shared_subset(store, repetition))
