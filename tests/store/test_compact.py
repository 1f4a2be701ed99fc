"""Compaction: every run stays, in fewer files, whatever happens meanwhile."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import count_runs, open_store
from orchestrator import run_campaign
from orchestrator.campaigns.pending import pending_shards
from orchestrator.store_ops.compact import Merge, compact_store, plan_merges
from orchestrator.store_ops.verify import verify_store
from tests.conftest import small_campaign
from tests.stores import new_store, results
from workers.campaign.keys import Run, Shard
from workers.errors import DamagedFileError, MissingFileError
from workers.store import Store
from workers.store.files.base import Files
from workers.store.files.local import LocalFiles
from workers.store.merge import merge
from workers.store.results import Results

RATIO_PPM = 500_000


def shard(start: int, stop: int) -> Shard:
    return Shard(RATIO_PPM, start, stop)


def filled(uri: object, ranges: list[tuple[int, int]]) -> Store:
    store = new_store(uri)
    for start, stop in ranges:
        store.commit(shard(start, stop), results(shard(start, stop)))
    return store


def evens(stop: int) -> list[tuple[int, int]]:
    return [(start, start + 2) for start in range(0, stop, 2)]


def everything(store: Store) -> pa.Table:
    """What readers get: every run once, ascending."""
    return pa.concat_tables(table for _, table in store.scan(["run_id", "epoch", "train_correct", "train_loss"]))


@pytest.fixture(params=["disk", "fsspec"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "store") if request.param == "disk" else f"memory://{tmp_path.name}/store"


def test_one_file_with_the_same_runs(uri: str) -> None:
    store = filled(uri, [*evens(6), *[(8, 10), (10, 11)]])
    before = everything(store)
    report = compact_store(uri, grace=0)
    assert (report.before, report.after, report.problems) == (5, 2, {})
    assert store.shards() == [shard(0, 6), shard(8, 11)]
    assert everything(store).equals(before)
    assert verify_store(uri) == (3, [])
    assert compact_store(uri, grace=0).after == 2


def test_the_same_runs_make_the_same_bytes(tmp_path: Path) -> None:
    """From whatever shards, in however many steps, and as if they were committed as one shard."""
    ways: list[list[list[tuple[int, int]]]] = [
        [evens(8)],
        [[(0, 2), (2, 4)], [(4, 6)], [(6, 7), (7, 8)]],
        [[(0, 4), (2, 6), (6, 8)]],
        [[(0, 8)]],
    ]
    made = set()
    for number, steps in enumerate(ways):
        for ranges in steps:
            store = filled(tmp_path / str(number), ranges)
            compact_store(store.uri, grace=0)
        made.add(Path(store.uri, "results", f"{shard(0, 8).shard_id}.parquet").read_bytes())
        assert len(store.shards()) == 1
    assert len(made) == 1


@pytest.mark.slow
def test_row_groups_hold_whole_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.store.merge.GROUP_BYTES", 2000)
    store = filled(tmp_path / "s", evens(20))
    before, counts = everything(store), count_runs(store)
    assert compact_store(store.uri, grace=0).after == 1
    path = Path(store.uri, "results", f"{shard(0, 20).shard_id}.parquet")
    file = pq.ParquetFile(path)
    groups = [file.read_row_group(group)["repetition"].to_pylist() for group in range(file.num_row_groups)]
    assert len(groups) > 4
    assert all(set(one).isdisjoint(other) for one, other in pairwise(groups))
    assert len(list(store.scan(["epoch"]))) == len(groups)
    assert everything(store).equals(before)
    assert (count_runs(store).ratios[0].correct_in == counts.ratios[0].correct_in).all()
    assert verify_store(store.uri) == (2, [])


@pytest.mark.slow
def test_a_campaign_is_extended_after_compaction(tmp_path: Path) -> None:
    """Nothing is trained again, estimates stay bit for bit, and pandas reads every run once."""
    folder = tmp_path / "store"
    campaign = small_campaign(subsets={"ratios": [0.3, 0.7], "repetitions": 6})
    run_campaign(campaign, folder, shard_size=2)

    def estimates() -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
        view = open_store(folder)
        return view.memorization(ratio=0.7, empty="nan"), view.cscore(), view.influence_matrix(ratio=0.7)

    before = estimates()
    assert compact_store(str(folder), grace=0).after == 2
    after = estimates()
    pd.testing.assert_frame_equal(before[0], after[0], check_exact=True)
    pd.testing.assert_frame_equal(before[1], after[1], check_exact=True)
    assert (before[2] == after[2]).all()
    assert pending_shards(campaign, open_store(folder).store.shards(), 2) == []
    assert run_campaign(campaign, folder).progress.trained == 0
    assert run_campaign(campaign, folder, repetitions=9).progress.trained == 6
    assert compact_store(str(folder), grace=0).after == 2
    assert verify_store(str(folder))[1] == []
    assert sorted(pd.read_parquet(folder / "results")["run_id"]) == sorted(
        Run(ratio_ppm, r).run_id for ratio_ppm in (300_000, 700_000) for r in range(9)
    )


def test_what_is_damaged_or_disagrees_is_left_and_named(uri: str) -> None:
    store = filled(uri, evens(12))
    odd = shard(5, 7)
    store.commit(odd, results(odd, seed=1))
    bad = f"results/{shard(10, 12).shard_id}.parquet"
    files = store._files
    files.replace(bad, b"PAR1")
    report = compact_store(uri, grace=0)
    problems = {Path(path).name.removesuffix(".parquet"): problem for path, problem in report.problems.items()}
    assert problems.keys() == {odd.shard_id, shard(10, 12).shard_id}
    assert "differs from r500000-000004-000006.parquet in repetition 5" in problems[odd.shard_id]
    assert store.shards() == [shard(0, 10), odd, shard(10, 12)]
    findings = verify_store(uri)[1]
    assert sorted(Path(finding.path).name.removesuffix(".parquet") for finding in findings) == sorted(problems)
    assert any("in run r500000-000005, which readers take from there" in finding.problem for finding in findings)
    verify_store(uri, repair=True)
    assert store.shards() == [shard(0, 10)]


@pytest.mark.slow
@settings(max_examples=100)
@given(
    ranges=st.lists(st.tuples(st.sampled_from([1, 2]), st.integers(0, 30), st.integers(1, 6)), max_size=12),
    runs=st.integers(1, 20),
)
def test_plans_lose_nothing_and_come_to_an_end(ranges: list[tuple[int, int, int]], runs: int) -> None:
    shards = {Shard(ratio_ppm, start, start + length) for ratio_ppm, start, length in ranges}
    held = {run for each in shards for run in each.runs}
    merges = plan_merges(sorted(shards), runs)
    for each in merges:
        assert {run for source in each.sources for run in source.runs} | set(
            each.target.runs if each.target in shards else ()
        ) == set(each.target.runs)
        assert all(source != each.target for source in each.sources)
        shards = shards.difference(each.sources) | {each.target}
    assert sorted(run for each in shards for run in each.runs) == sorted(held)
    assert plan_merges(sorted(shards), runs) == []


def test_blocks_are_as_large_as_asked_for() -> None:
    assert plan_merges([shard(start, start + 2) for start in range(0, 10, 2)], 4) == [
        Merge(shard(0, 4), (shard(0, 2), shard(2, 4))),
        Merge(shard(4, 8), (shard(4, 6), shard(6, 8))),
    ]


class Interrupted(LocalFiles):
    """Files whose process is killed after a number of changes, or that call something before each operation."""

    def __init__(self, root: Path, before: Callable[[str, str], None]) -> None:
        super().__init__(root)
        self.before = before

    def __getattribute__(self, name: str) -> Any:
        if name in ("names", "read", "open", "create", "replace", "move", "delete"):
            object.__getattribute__(self, "before")(name, "")
        return super().__getattribute__(name)


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


def compact_with(files: Files, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("workers.store.store.open_files", lambda uri: files)
        compact_store(uri, grace=0)


@pytest.mark.slow
def test_an_end_at_any_operation_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compaction ends before its first file operation, its second, and so on; the next one completes it."""
    store = filled(tmp_path / "s", evens(8))
    expected = everything(store)
    whole = {path.name: path.read_bytes() for path in Path(store.uri, "results").iterdir()}
    last, allowed = 0, 0
    while True:
        left = allowed

        def count(name: str, path: str) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed

        try:
            compact_with(Interrupted(Path(store.uri), count), store.uri, monkeypatch)
        except Killed:
            assert everything(store).equals(expected)
            assert set(pd.read_parquet(f"{store.uri}/results")["run_id"]) == set(expected["run_id"].to_pylist())
            assert compact_store(store.uri, grace=0).after == 1
            assert everything(store).equals(expected)
            allowed += 1
        else:
            last = allowed
            break
        for path in Path(store.uri, "results").iterdir():
            path.unlink()
        for name, content in whole.items():
            Path(store.uri, "results", name).write_bytes(content)
    assert last > 15


@pytest.mark.slow
def test_a_reader_at_every_operation_has_every_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers that began before, at any operation, go on; a second compaction in between does no harm either."""
    store = filled(tmp_path / "s", evens(8))
    expected = everything(store)
    runs = set(expected["run_id"].to_pylist())
    readers: list[tuple[list[pa.Table], Iterator[tuple[Shard, pa.Table]]]] = []

    def look(name: str, path: str) -> None:
        assert everything(store).equals(expected)
        assert set(pd.read_parquet(f"{store.uri}/results", columns=["run_id"])["run_id"]) == runs
        slow = store.scan(["run_id", "epoch", "train_correct", "train_loss"])
        readers.append(([next(slow)[1]], slow))
        for read, rest in readers:
            read += [table for _, table in [next(rest, (None, None))] if table is not None]

    compact_with(Interrupted(Path(store.uri), look), store.uri, monkeypatch)
    assert len(store.shards()) == 1
    for read, rest in readers:
        assert pa.concat_tables([*read, *(table for _, table in rest)]).equals(expected)


def test_a_torn_listing_hides_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A merged file appears behind what a listing has passed, and its sources go before the listing comes to them."""
    store = filled(tmp_path / "s", evens(4))
    expected = everything(store)
    listed = LocalFiles.names
    torn = iter([["r500000-000000-000002.parquet"]])

    def names(self: LocalFiles, folder: str) -> list[str]:
        for part in torn if folder == "results" else ():
            monkeypatch.setattr(LocalFiles, "names", listed)
            compact_store(store.uri, grace=0)
            return part
        return listed(self, folder)

    monkeypatch.setattr(LocalFiles, "names", names)
    assert everything(store).equals(expected)


def test_a_listed_file_that_is_never_there_is_an_error(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", evens(4))
    Path(store.uri, "results", f"{shard(4, 6).shard_id}.parquet").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DamagedFileError, match="000006.parquet: is a broken link"):
        everything(store)


def test_a_commit_beside_a_compaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A late writer finds its shard there, and gone when it looks: it commits again, and readers take runs once."""
    store = filled(tmp_path / "s", evens(4))
    expected = everything(store)
    created = LocalFiles.create

    def create(self: LocalFiles, path: str, content: bytes, digest: str | None = None) -> bool:
        found = created(self, path, content)
        monkeypatch.setattr(LocalFiles, "create", created)
        compact_store(store.uri, grace=0)
        return found

    monkeypatch.setattr(LocalFiles, "create", create)
    assert store.commit(shard(0, 2), results(shard(0, 2)))
    assert store.shards() == [shard(0, 2), shard(0, 4)]
    assert everything(store).equals(expected)
    assert verify_store(store.uri) == (3, [])
    assert compact_store(store.uri, grace=0).after == 1


def test_sources_that_vanish_are_left_to_the_other_compaction(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", evens(4))
    files = LocalFiles(Path(store.uri))
    files.delete(f"results/{shard(2, 4).shard_id}.parquet")
    with pytest.raises(MissingFileError):
        merge(files, Results(files, store.header), store.header, shard(0, 4), [shard(0, 2), shard(2, 4)])
    assert store.shards() == [shard(0, 2)]


@pytest.mark.slow
def test_compactions_of_different_sizes_at_once(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", evens(60))
    expected = everything(store)
    sizes = [1, 6000, 20_000, 64 << 20]
    problems: list[object] = []
    threads = [
        threading.Thread(
            target=lambda size=size: problems.extend(compact_store(store.uri, size=size, grace=0).problems)
        )
        for size in sizes
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert everything(store).equals(expected)
    for thread in threads:
        thread.join()
    compact_store(store.uri, grace=0)
    assert problems == []
    assert everything(store).equals(expected)
    assert verify_store(store.uri) == (2, [])


def compact_signalling(uri: str, size: int, begun: Event) -> None:
    """`compact_store`, with an event as it begins."""
    begun.set()
    compact_store(uri, size=size, grace=0)


@pytest.mark.slow
def test_kill_9_at_many_moments(tmp_path: Path) -> None:
    """The compaction in processes of its own, killed; a reader polls all the while."""
    store = filled(tmp_path / "s", evens(40))
    expected = everything(store)
    random = np.random.default_rng(0)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([__name__])
    kills = 0
    for size in [3000, 12_000, 24_000, 1 << 26]:
        begun = processes.Event()
        process = processes.Process(target=compact_signalling, args=(store.uri, size, begun))
        process.start()
        assert begun.wait(60)
        for _ in range(random.integers(1, 12)):
            assert everything(store).equals(expected)
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        assert everything(store).equals(expected)
    assert kills
    for leftover in Path(store.uri, "results").glob("_new-*"):
        os.utime(leftover, (0, 0))
    assert compact_store(store.uri, grace=0).after == 1
    assert verify_store(store.uri) == (2, [])
    assert [path.name for path in Path(store.uri, "results").iterdir()] == [f"{shard(0, 40).shard_id}.parquet"]
    assert everything(store).equals(expected)
