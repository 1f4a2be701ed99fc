"""Selects the rows that an estimate rests on: ratios, one epoch, runs that did not diverge."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from workers.campaign.campaign import PPM, ratio_to_ppm
from workers.campaign.keys import Shard
from workers.campaign.plural import count_text
from workers.errors import EstimateError, NoEstimateError
from workers.store import Store
from workers.store.file_problems import DIVERGENCE_HINT

EPOCH_COLUMNS = ("epoch", "is_final", "status")
"""Columns that tell which rows are of an epoch, and which of diverged runs."""


@dataclass(frozen=True)
class EpochRows:
    """A shard's rows at one epoch, in ascending repetition; `used` tells which of them belong to no diverged run.

    `diverged` counts the shard's diverged runs, whether or not they reached the epoch.
    """

    shard: Shard
    table: pa.Table
    used: npt.NDArray[np.bool_]
    epochs: npt.NDArray[np.int64]
    diverged: int


def committed_ratios(store: Store) -> tuple[int, ...]:
    """The ratios (parts per million) that have committed runs, ascending."""
    return tuple(sorted({shard.ratio_ppm for shard in store.shards()}))


def check_random_subsets(store: Store) -> None:
    """Raise EstimateError where subsets are explicit: who is left out then depends on the scores, not on chance."""
    if store.header.scored:
        raise EstimateError(
            f"{store.uri}: has no memorization, influence, C-score, forgetting, datamodels or privacy audit: "
            "its subsets are explicit, not random; what it has is a removal curve (longtail removal)"
        )


def check_some_run(uri: str, runs: int, diverged: int, ratio: float | None = None) -> None:
    """Raise NoEstimateError where all committed runs (of a ratio) diverged, `runs` being those that did not.

    Say so before anything else that follows from it.
    """
    if diverged and not runs:
        which = f"{count_text(diverged, 'committed run')} diverged" + ("" if ratio is None else f" at ratio {ratio:g}")
        raise NoEstimateError(f"{uri}: has no run to estimate from, all {which} ({DIVERGENCE_HINT})")


def select_ratios(store: Store, ratio: float | None) -> tuple[int, ...]:
    """The ratio requested in parts per million, or every committed one.

    Raises EstimateError where nothing is committed, or nothing at that ratio.
    """
    committed = committed_ratios(store)
    if not committed:
        raise NoEstimateError(f"{store.uri}: has no committed run")
    if ratio is None:
        return committed
    try:
        ratio_ppm = ratio_to_ppm(ratio)
    except ValueError:
        ratio_ppm = 0  # is no ratio, so it is not among the committed ones either
    if ratio_ppm not in committed:
        raise EstimateError(f"{store.uri}: ratio must be one of {_listed(committed)}, got {ratio!r}")
    return (ratio_ppm,)


def select_ratio(store: Store, ratio: float | None) -> int:
    """The one ratio requested in parts per million; None stands for the `preferred_ratio` of the committed ones.

    Raises EstimateError as `select_ratios`.
    """
    ratios_ppm = select_ratios(store, ratio)
    if len(ratios_ppm) == 1:
        return ratios_ppm[0]
    runs = dict.fromkeys(ratios_ppm, 0)
    for shard, table in store.scan(("is_final", "status")):
        final = table["status"].filter(table["is_final"]).to_pylist()
        runs[shard.ratio_ppm] = runs.get(shard.ratio_ppm, 0) + sum(status != "diverged" for status in final)
    return preferred_ratio(runs)


def preferred_ratio(runs: Mapping[int, int]) -> int:
    """Of ratios in parts per million with their numbers of runs that did not diverge, the one where memorization and
    influence are estimated if none is requested: with the most runs; of equals the nearest to 1/2, where both groups of
    runs are large; of equals the larger. A ratio of 1, which holds nothing out, comes last."""
    return max(runs, key=lambda ratio_ppm: (ratio_ppm < PPM, runs[ratio_ppm], -abs(2 * ratio_ppm - PPM), ratio_ppm))


def only_ratio(store: Store, ratio: float | None) -> int:
    """As `select_ratio`, but None stands for the only ratio that the store has: for results of two stores, which must
    be at the same ratio. Raises EstimateError also where the store has several."""
    ratios_ppm = select_ratios(store, ratio)
    if len(ratios_ppm) > 1:
        raise EstimateError(f"{store.uri}: ratio must be given, one of {_listed(ratios_ppm)}")
    return ratios_ppm[0]


def scan_epoch(store: Store, columns: Sequence[str], ratio_ppm: int | None, epoch: int | None) -> Iterator[EpochRows]:
    """Shard by shard, the rows of an epoch (None: of each run's last), of one ratio or of all.

    Raises EstimateError where finished runs did not record that epoch, DamagedFileError for an unreadable shard.
    """
    names = [*EPOCH_COLUMNS, *(name for name in columns if name not in EPOCH_COLUMNS)]
    for shard, table in store.scan(names, ratio_ppm):
        yield epoch_rows(store, shard, table, epoch)


def epoch_rows(store: Store, shard: Shard, table: pa.Table, epoch: int | None) -> EpochRows:
    """Of some whole runs of a shard, with the columns EPOCH_COLUMNS and others, the rows of an epoch (None: the last).

    Raises EstimateError as `scan_epoch`.
    """
    final = table["is_final"].to_numpy()
    epochs = table["epoch"].to_numpy().astype(np.int64)
    completed = np.array([status != "diverged" for status in table["status"].to_pylist()], dtype=bool)
    chosen = final if epoch is None else epochs == epoch
    recorded = np.unique(epochs[completed])
    if epoch is not None and len(recorded) and epoch not in recorded:
        raise EstimateError(
            f"{store.uri}: epoch must be one of {', '.join(map(str, recorded))} (those recorded), got {epoch!r}"
        )
    return EpochRows(
        shard=shard,
        table=table if chosen.all() else table.filter(chosen),
        used=completed[chosen],
        epochs=epochs[chosen],
        diverged=int((final & ~completed).sum()),
    )


def _listed(ratios_ppm: Sequence[int]) -> str:
    return ", ".join(str(ratio_ppm / PPM) for ratio_ppm in ratios_ppm)


def chosen_tests(tests: slice | npt.ArrayLike, num_test: int) -> npt.NDArray[np.int64]:
    """The selected ids of test examples, int64, ascending, each once: of a slice, of ids, or of a mask of length T.

    Raises EstimateError for another selection, for an id outside 0..T-1, and where none is selected.
    """
    everything = np.arange(num_test, dtype=np.int64)
    if isinstance(tests, slice):
        chosen = everything[tests]
    else:
        ids = np.atleast_1d(np.asarray(tests))
        valid = ids.dtype.kind in "iu" or (ids.dtype == bool and ids.shape == everything.shape)
        if ids.ndim != 1 or not (valid or not ids.size):
            raise EstimateError(f"tests must be a slice, whole ids, or a mask of length {num_test}, got {tests!r}")
        outside = ids[(ids < 0) | (ids >= num_test)] if ids.dtype != bool else ids[:0]
        if outside.size:
            raise EstimateError(f"tests must be ids from 0 to {num_test - 1}, got {outside[0]}")
        chosen = everything[np.unique(ids)] if ids.dtype.kind in "iu" else everything[ids.astype(bool)]
    if not chosen.size:
        raise EstimateError(f"tests must select at least one of the store's {num_test} test examples, got {tests!r}")
    return np.unique(chosen)
