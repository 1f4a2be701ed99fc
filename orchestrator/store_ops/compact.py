"""Merges many small result files into few large ones, while other processes commit, read and compact.

A merged file is named after its runs like any shard, and which runs it holds depends on the campaign and the size asked
for alone, so that two compactions, or one that was killed and its successor, write the same files. Nothing is deleted
before a wider file with the same runs, bit for bit, was read back from the store: a kill at any moment leaves every run
in at least one file, and readers take each once. Of files that overlap only one inside another is ever deleted, so that
two compactions cannot delete each other's.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from workers.campaign.keys import Shard
from workers.common.progress import ProgressCallback, no_progress
from workers.errors import MissingFileError
from workers.store import Header, Store
from workers.store.maintenance import superseded_shards
from workers.store.merge import SourceError

DEFAULT_SIZE = 64 << 20
DEFAULT_GRACE = 10.0
_MAX_ROUNDS = 100
"""Rounds in which other compactions are faster before this one gives up."""


@dataclass(frozen=True)
class Merge:
    """A file to be made of others."""

    target: Shard
    sources: tuple[Shard, ...]


@dataclass
class Compaction:
    """What a compaction did: result files before and after, and by file what kept it from being merged."""

    store_uri: str
    before: int
    after: int = 0
    problems: dict[str, str] = field(default_factory=dict)


def compact_store(
    uri: str,
    *,
    size: int = DEFAULT_SIZE,
    grace: float = DEFAULT_GRACE,
    on_progress: ProgressCallback = no_progress,
) -> Compaction:
    """Merge a store's results into files of about `size` bytes (packed, before compression), ratio by ratio.

    Memory: about three times `size`. Merged files stay beside what they were made of for `grace` seconds, for programs
    that listed the folder and are not Longtail. `on_progress` gets the files merged and those to merge. Damaged files
    and those that disagree are left as they are, and named. Raises StoreError where the store cannot be read or
    written.
    """
    store = Store.open(uri)
    store.clean()
    report = Compaction(store.uri, before=len(store.shards()))
    excluded: set[Shard] = set()
    for _ in range(_MAX_ROUNDS):
        planned = plan_merges(
            [shard for shard in store.shards() if shard not in excluded], runs_per_file(store.header, size)
        )
        merges = [each for each in planned if each.target not in excluded]
        if merges and not _merge_all(store, merges, excluded, report, grace, on_progress):
            continue
        # A compaction beside this one may have made a file narrower than ours, or wider, at the same time.
        if excluded.issuperset(superseded_shards(store.shards())):
            break
    report.after = len(store.shards())
    return report


def _merge_all(
    store: Store,
    merges: Sequence[Merge],
    excluded: set[Shard],
    report: Compaction,
    grace: float,
    on_progress: ProgressCallback,
) -> bool:
    """Whether all could be made; what cannot be merged becomes `excluded`."""
    merged: list[Shard] = []
    done, total = 0, sum(len(merge.sources) for merge in merges)
    for merge in merges:
        on_progress(done, total)
        try:
            store.maintenance.merge(merge.target, merge.sources)
            merged += merge.sources
        except SourceError as error:
            path = f"{store.uri}/results/{error.shard.shard_id}.parquet"
            excluded.add(error.shard)
            report.problems[path] = str(error).removeprefix(f"{path}: ")
        except MissingFileError:
            pass  # another compaction has it: the next round sees what is left
        done += len(merge.sources)
    on_progress(done, total)
    if merged and grace > 0:
        time.sleep(grace)
    store.maintenance.discard(merged)
    return len(merged) == total


def runs_per_file(header: Header, size: int) -> int:
    """Runs whose rows take `size` bytes, as whole shards; at least one."""
    return max(1, size // header.bytes_per_run // header.shard_size) * header.shard_size


def plan_merges(shards: Sequence[Shard], runs: int) -> list[Merge]:
    """The files to make, of `runs` runs at most: blocks begin at multiples of `runs`, and have no gap.

    Files that overlap are always made one.
    """
    merges: list[Merge] = []
    members: list[Shard] = []
    for shard in sorted(shards, key=lambda each: (each.ratio_ppm, each.start, -each.stop)):
        if members and not _joined(members, shard, runs):
            merges += _merge_of(members)
            members = []
        members.append(shard)
    return merges + _merge_of(members)


def _joined(members: Sequence[Shard], shard: Shard, runs: int) -> bool:
    first, stop = members[0], max(member.stop for member in members)
    if shard.ratio_ppm != first.ratio_ppm or shard.start > stop:
        return False
    return shard.start < stop or first.start // runs == (shard.stop - 1) // runs


def _merge_of(members: Sequence[Shard]) -> list[Merge]:
    if len(members) < 2:
        return []
    target = Shard(members[0].ratio_ppm, members[0].start, max(member.stop for member in members))
    return [Merge(target, tuple(member for member in members if member != target))]
