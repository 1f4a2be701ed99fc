"""Verifies every committed file of a store, and sets damaged ones aside."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from workers.campaign.import_spec import Imported
from workers.campaign.keys import Run, Shard, runs_by_ratio
from workers.campaign.plural import count_text
from workers.common.progress import ProgressCallback, no_progress
from workers.errors import DamagedFileError, MissingFileError
from workers.store import Store
from workers.store.file_problems import EXAMPLES_FILE, MISSING, OTHER_CAMPAIGN, RESTORE_HINT
from workers.store.header import CAMPAIGN
from workers.store.maintenance import FOLDERS
from workers.store.results import shard_of


@dataclass(frozen=True)
class Finding:
    """A file with something wrong; `moved_to` says where it is now, where it was set aside."""

    path: str
    problem: str
    moved_to: str | None = None


def verify_store(
    uri: str, *, repair: bool = False, on_progress: ProgressCallback = no_progress
) -> tuple[int, list[Finding]]:
    """(files checked, findings). With `repair`, damaged files are moved to `damaged/`.

    `on_progress` gets the files checked so far, and all of them.

    Raises StoreError where there is no store, or where it cannot be read or (repairing) written; DamagedFileError where
    campaign.json is damaged, or of another campaign than all results: nothing can be said of the rest then. May run
    beside writers and compactions.
    """
    store = Store.open(uri)
    paths = [f"{folder}/{name}" for folder in FOLDERS for name in store.maintenance.names(folder)]
    problems: dict[str, str | None] = {}
    for path in [*paths, EXAMPLES_FILE]:
        on_progress(len(problems), len(paths) + 1)
        problems[path] = store.maintenance.inspect(path)
    on_progress(len(problems), len(problems))
    of_results = [problem for path, problem in problems.items() if path.startswith("results/")]
    if of_results and set(of_results) == {OTHER_CAMPAIGN}:  # setting all of them aside would lose what is sound
        problem = f"is of another campaign than all {count_text(len(of_results), 'file')} of results"
        raise DamagedFileError(f"{store.uri}/{CAMPAIGN}: {problem}", hint=RESTORE_HINT)
    findings = [
        _found(store, path, problem, repair and problem != MISSING) for path, problem in problems.items() if problem
    ]
    shards = {path: shard_of(path.removeprefix("results/")) for path, problem in problems.items() if problem is None}
    sound = [shard for shard in shards.values() if shard is not None]
    for shard, problem in _disagreeing(store, sound):
        findings.append(_found(store, f"results/{shard.shard_id}.parquet", problem, repair))
    return len(paths) + 1, findings


def missing_runs(uri: str) -> dict[int, list[Run]]:
    """The runs that were requested and are not committed, by ratio (parts per million); none where all are there.

    Of imported runs nobody requested certain ones (see `missing_imports`). Raises as `verify_store`.
    """
    store = Store.open(uri)
    if isinstance(store.header.campaign, Imported):
        return {}
    there: dict[int, set[int]] = defaultdict(set)
    for shard in store.shards():
        there[shard.ratio_ppm].update(range(shard.start, shard.stop))
    missing = {
        ratio_ppm: [Run(ratio_ppm, repetition) for repetition in range(requested) if repetition not in there[ratio_ppm]]
        for ratio_ppm, requested in store.targets().items()
    }
    return {ratio_ppm: runs for ratio_ppm, runs in missing.items() if runs}


def missing_imports(uri: str) -> dict[int, int]:
    """How many runs that were imported are not in the store any more, by ratio (parts per million).

    An import wants as many as it found: the folders of an experiment may have gaps. Raises as `verify_store`.
    """
    store = Store.open(uri)
    if not isinstance(store.header.campaign, Imported):
        return {}
    there = runs_by_ratio(store.shards())
    return {
        ratio_ppm: requested - there[ratio_ppm]
        for ratio_ppm, requested in store.targets().items()
        if requested > there[ratio_ppm]
    }


def _found(store: Store, path: str, problem: str, repair: bool) -> Finding:
    return Finding(f"{store.uri}/{path}", problem, store.maintenance.set_aside(path) if repair else None)


def _disagreeing(store: Store, shards: list[Shard]) -> Iterator[tuple[Shard, str]]:
    """Shards that hold a run otherwise than the file which readers take it from.

    Two files with the same run are no damage: a compaction is under way, or drivers had other numbers of repetitions.
    """
    before: list[Shard] = []
    """Those of the same ratio that may overlap what follows."""
    for shard in sorted(shards, key=lambda each: (each.ratio_ppm, each.start, -each.stop)):
        before = [each for each in before if each.ratio_ppm == shard.ratio_ppm and each.stop > shard.start]
        for other in before:
            run = _first_difference(store, shard, other)
            if run is not None:
                yield shard, f"differs from {other.shard_id}.parquet in run {run.run_id}, which readers take from there"
                break
        else:
            before.append(shard)


def _first_difference(store: Store, shard: Shard, other: Shard) -> Run | None:
    try:
        ours, theirs = store.maintenance.run_hashes(shard), store.maintenance.run_hashes(other)
    except (MissingFileError, DamagedFileError):
        return None  # gone, or to be found by the next inspection
    different = [
        repetition for repetition in sorted(ours.keys() & theirs.keys()) if ours[repetition] != theirs[repetition]
    ]
    return Run(shard.ratio_ppm, different[0]) if different else None
