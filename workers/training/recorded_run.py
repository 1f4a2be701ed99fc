"""What a store recorded of a run, compared bit by bit with what training it again records."""

from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from workers.campaign.campaign import PPM
from workers.campaign.keys import Run
from workers.campaign.record import Record
from workers.errors import CommandError, ReplayMismatchError
from workers.store import RunResult, Store
from workers.store.schema import results_schema, results_table

_NOT_COMPARED = ("seconds", "device")
"""Columns of results that say how a run was trained, and not what came of it."""
_PACKAGES = ("longtail", "torch", "numpy")


def recorded_rows(store: Store, run: Run) -> pa.Table:
    """A committed run's rows. Raises CommandError where there is none."""
    names = [each.name for each in results_schema(store.header.record)]
    for shard in (shard for shard in store.all_shards() if run in shard.runs):
        for table in store.groups(shard, names):
            rows = table.filter(pc.equal(table["repetition"], run.repetition))
            if rows.num_rows:
                return rows
    spans = ", ".join(f"{ratio / PPM:g}/{first} to {last}" for ratio, (first, last) in _committed(store).items())
    raise CommandError(f"run {run.run_id}: is not in {store.uri}, which has {spans or 'no runs so far'}")


def _committed(store: Store) -> dict[int, tuple[int, int]]:
    """The first and the last committed repetition of each ratio, in parts per million."""
    spans: dict[int, tuple[int, int]] = {}
    for shard in store.all_shards():
        first, last = spans.get(shard.ratio_ppm, (shard.start, shard.stop - 1))
        spans[shard.ratio_ppm] = (min(first, shard.start), max(last, shard.stop - 1))
    return spans


def record_differences(result: RunResult, recorded: pa.Table, record: Record) -> Iterator[str]:
    """What differs between a result and the rows that were recorded, column by column."""
    schema = results_schema(record)
    found = results_table([result], schema)
    if found["epoch"].to_pylist() != recorded["epoch"].to_pylist():
        yield f"epochs {recorded['epoch'].to_pylist()}, now {found['epoch'].to_pylist()}"
        return
    for field in schema:
        if field.name in _NOT_COMPARED:
            continue
        ours, theirs = found[field.name].combine_chunks(), recorded[field.name].combine_chunks()
        if pa.types.is_list(field.type):
            one, other = _flat(ours), _flat(theirs)
            if one.shape != other.shape or one.dtype != other.dtype:
                yield f"{field.name} of {len(other):,} values, now of {len(one):,}"
            elif one.tobytes() != other.tobytes():
                unequal = (one.reshape(-1, 1).view(np.uint8) != other.reshape(-1, 1).view(np.uint8)).any(axis=1)
                yield f"{field.name} at {int(unequal.sum()):,} of {len(one):,} values"
        elif not ours.equals(theirs):
            row = next(k for k in range(len(ours)) if ours[k] != theirs[k])
            yield f"{field.name} {theirs[row].as_py()!r}, now {ours[row].as_py()!r}"


def _flat(lists: pa.Array) -> npt.NDArray[Any]:
    return np.ascontiguousarray(lists.flatten().to_numpy(zero_copy_only=False))


def mismatch_error(
    store: Store, result: RunResult, recorded: pa.Table, differences: Sequence[str]
) -> ReplayMismatchError:
    """The error of a run that was trained again with other bits: what differs, and what can be the reason."""
    conditions = _changed_conditions(store, recorded, result.device)
    reasons = (
        f"it was trained with {'; '.join(conditions)}: replay it there"
        if conditions
        else "versions and device are those of the store; another CPU or driver, or smaller stacks, can be the cause"
    )
    return ReplayMismatchError(
        f"{store.uri}: run {result.run.run_id} differs from what the store recorded: {', '.join(differences)}; "
        f"{reasons}, or take the run as trained here (--accept-differences, accept_differences=True)"
    )


def _changed_conditions(store: Store, rows: pa.Table, device: str) -> list[str]:
    """The versions and the device of the rows' run that are others here, each with what is here.

    `device` is the name of the one here, as `device_name` gives it.
    """
    theirs, here = store.header.versions, {name: _version(name) for name in _PACKAGES}
    changed = [f"{name} {theirs.get(name)} (here {here[name]})" for name in _PACKAGES if theirs.get(name) != here[name]]
    recorded_device = rows["device"][-1].as_py()
    return changed if device == recorded_device else [*changed, f"device {recorded_device} (here {device})"]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
