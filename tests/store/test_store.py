"""The store: what is committed, and what is refused."""

import errno
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pandas as pd
import pytest

from orchestrator.store_ops.verify import verify_store
from tests.conftest import small_campaign
from tests.stores import NUM_TEST, NUM_TRAIN, examples, header, new_store, powerless, results
from workers.campaign.keys import Shard
from workers.errors import ConflictError, DamagedFileError, StoreError, StoreMismatchError
from workers.store import Failure, Store
from workers.store.files.base import STALE_SECONDS

SHARD = Shard(500_000, 0, 2)
NEXT = Shard(500_000, 2, 4)


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_committed_reads_back(store: Store) -> None:
    given = results(SHARD)
    assert store.commit(SHARD, given)
    assert store.shards() == [SHARD]
    table = store.read(SHARD)
    assert table["run_id"].to_pylist() == ["r500000-000000"] * 2 + ["r500000-000001"] * 2
    assert table["is_final"].to_pylist() == [False, True, False, True]
    last = given[1].epochs[1]
    assert (store.bits(SHARD, table, "train_correct")[3] == last.train_correct).all()
    assert (store.bits(SHARD, table, "test_correct")[3] == last.test_correct).all()
    assert (store.bits(SHARD, table, "subset")[3] == given[1].subset).all()
    assert table["heldout_accuracy"][3].as_py() == last.train_correct[~given[1].subset].mean()


def test_opening_again_gives_the_same_store(store: Store) -> None:
    store.commit(SHARD, results(SHARD))
    again = Store.open(store.uri)
    assert again.header == store.header
    assert again.header.campaign == small_campaign(record={"epochs": "all"})
    assert again.shards() == [SHARD]
    assert new_store(store.uri).shards() == [SHARD]
    assert again.examples().num_rows == NUM_TRAIN + NUM_TEST


def test_an_equal_commit_is_ignored_and_a_different_one_refused(store: Store) -> None:
    assert store.commit(SHARD, results(SHARD))
    before = store.read(SHARD)
    assert not store.commit(SHARD, results(SHARD, seconds=99.0))
    with pytest.raises(ConflictError, match=f"{SHARD.shard_id}.parquet: is committed with other content"):
        store.commit(SHARD, results(SHARD, seed=1))
    assert store.read(SHARD).equals(before)


def test_overlapping_shards_give_each_run_once(store: Store) -> None:
    wide = Shard(500_000, 0, 4)
    store.commit(SHARD, results(SHARD))
    store.commit(wide, results(wide))
    seen = [run_id for _, table in store.scan(["run_id", "is_final"]) for run_id in table["run_id"].to_pylist()]
    assert seen == sorted(f"r500000-{r:06d}" for r in range(4) for _ in range(2))


def test_plain_pandas_reads_the_results(tmp_path: Path) -> None:
    store = new_store(tmp_path / "store")
    for shard in (SHARD, NEXT):
        store.commit(shard, results(shard))
    frame = pd.read_parquet(f"{store.uri}/results")
    assert len(frame) == 8
    assert frame["train_correct"].iloc[0].dtype == bool
    assert list(pd.read_parquet(f"{store.uri}/results", columns=["run_id"])) == ["run_id"]


def test_the_newest_request_counts_for_each_of_its_ratios(store: Store) -> None:
    """So that one made by mistake can be taken back."""
    store.add_target(small_campaign().subsets)
    wider = small_campaign(subsets={"ratios": [0.6, 0.9], "repetitions": 1_000_000, "seed": 5}).subsets
    store.add_target(wider)
    assert store.targets() == {200_000: 3, 600_000: 1_000_000, 900_000: 1_000_000}
    store.add_target(wider.model_copy(update={"repetitions": 7}))
    written = store._files.names("targets")
    store.add_target(wider.model_copy(update={"repetitions": 7}))
    store.add_target(wider.model_copy(update={"repetitions": 5}), at_least=True)
    assert store.targets() == {200_000: 3, 600_000: 7, 900_000: 7}
    assert store._files.names("targets") == written, "nothing new was requested"
    store.add_target(small_campaign(subsets={"ratios": [i / 100 for i in range(1, 90)], "repetitions": 1}).subsets)
    assert len(store.targets()) == 90 - 1 + 1
    assert store.targets()[600_000] == 1


def test_requests_without_a_number_are_older_than_all_others(store: Store) -> None:
    """As older versions wrote them: their union. And of two drivers that number theirs alike the larger one holds."""
    store._files.create("targets/r600000-000009.json", b'{"600000": 9}')
    store._files.create("targets/r600000_700000-000004.json", b'{"600000": 4, "700000": 4}')
    assert store.targets() == {600_000: 9, 700_000: 4}
    store.add_target(small_campaign(subsets={"ratios": [0.6], "repetitions": 2}).subsets)
    assert store.targets() == {600_000: 2, 700_000: 4}
    number = min(store._files.names("targets")).partition("-")[0]
    store._files.create(f"targets/{number}-r600000-000003.json", b'{"600000": 3}')
    assert (number, store.targets()) == ("000001", {600_000: 3, 700_000: 4})


@pytest.mark.slow
def test_failures_are_cut_to_what_is_read_back(store: Store) -> None:
    huge = "\U0001f600" * 60_000_000
    store.record_failure(Failure(SHARD.shard_id, 2, f"first {huge} last", f"head {huge} tail"))
    (failure,) = store.failures()
    assert len(failure.message) < 3_000
    assert len(failure.traceback) < 110_000
    assert (failure.message[:6], failure.message[-5:], failure.traceback[-5:]) == ("first ", " last", " tail")
    assert "60,000,000 characters left out" not in failure.message
    assert "characters left out" in failure.message


def test_another_campaign_or_other_data_are_refused_and_named(tmp_path: Path) -> None:
    store = new_store(tmp_path / "store")
    before = everything(tmp_path)
    other = small_campaign(
        recipe={"epochs": 3, "batch_size": 256}, model={"name": "mlp", "hidden": [9]}, record={"epochs": "all"}
    )
    with pytest.raises(StoreMismatchError) as caught:
        Store.create(store.uri, header(other, "b"), examples())
    assert [line.removeprefix(f"{store.uri}: ").split(" (")[0] for line in str(caught.value).splitlines()] == [
        "model.hidden: the store has [8], the campaign has [9]",
        "recipe.epochs: the store has 2, the campaign has 3",
        "data set: the store was created from a different data set",
    ]
    assert everything(tmp_path) == before


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    for name in ("thesis.tex", "results/mine.csv"):
        folder = tmp_path / name[:3]
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("precious")
        with pytest.raises(
            StoreError, match=f"is not empty and not a Longtail store \\(it holds '{name.split('/')[0]}'"
        ):
            new_store(folder)
        assert everything(folder) == {name: b"precious"}


def test_places_that_cannot_hold_a_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file: is a file, not the folder of a store"):
        new_store(tmp_path / "file")
    with pytest.raises(StoreError, match="is not a Longtail store"):
        Store.open(tmp_path / "nothing")
    with pytest.raises(StoreError, match="must be a path or a URI, got ''"):
        new_store("")
    with pytest.raises(StoreError, match="nosuch://bucket"):
        Store.open("nosuch://bucket/store")


def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o755)
    for path in [tmp_path, *tmp_path.parents]:
        if path.owner() == "root" and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    locked.chmod(0o555)
    with powerless(), pytest.raises(StoreError, match="locked/store: Permission denied"):
        new_store(locked / "store")
    assert list(locked.iterdir()) == []


def test_a_full_disk_leaves_no_partial_file(tmp_path: Path) -> None:
    """A file size limit makes the write fail half-way, as a full disk does."""
    store = new_store(tmp_path / "store")
    before = everything(tmp_path)
    shard = Shard(500_000, 0, 400)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(StoreError, match=f"results/{shard.shard_id}.parquet: File too large"):
            store.commit(shard, results(shard))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, former)
    assert everything(tmp_path) == before
    assert store.commit(shard, results(shard))


@pytest.mark.slow
def test_a_really_full_disk(tmp_path: Path) -> None:
    """The same on a file system of 64 KB, mounted for this test alone."""
    script = f"""
mount -t tmpfs -o size=64k none {tmp_path} || exit 77
exec {sys.executable} -W error -c "
from tests.stores import *
store = new_store('{tmp_path}/store')
shard = Shard(500_000, 0, 20_000)
try:
    store.commit(shard, results(shard))
except OSError as error:
    print(error)
print(sorted(os.listdir('{tmp_path}/store/results')))
"
"""
    if not shutil.which("unshare"):
        pytest.skip("needs unshare(1)")
    root = Path(__file__).parents[2]
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, cwd=root, check=False)
    if done.returncode in (1, 77) and "Traceback" not in done.stderr:
        pytest.skip(f"may not mount a file system here: {done.stderr.strip()}")
    assert "No space left on device" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def _commit_in_process(uri: str, start: Barrier, wins: "Queue[int]") -> None:
    store = Store.open(uri)
    start.wait()
    wins.put(store.commit(SHARD, results(SHARD)))


@pytest.mark.slow
def test_of_racing_writers_one_wins(tmp_path: Path) -> None:
    store = new_store(tmp_path / "store")
    context = multiprocessing.get_context("spawn")
    start, wins = context.Barrier(4), context.Queue()
    writers = [context.Process(target=_commit_in_process, args=(store.uri, start, wins)) for _ in range(4)]
    for writer in writers:
        writer.start()
    won = [wins.get(timeout=60) for _ in writers]
    for writer in writers:
        writer.join()
    assert sorted(written > 0 for written in won) == [False, False, False, True]
    assert store.maintenance.names("results") == [f"{SHARD.shard_id}.parquet"]
    assert store.maintenance.inspect(f"results/{SHARD.shard_id}.parquet") is None


def test_a_disk_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: object, target: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    store = new_store(tmp_path / "store")
    assert store.commit(SHARD, results(SHARD))
    assert not store.commit(SHARD, results(SHARD))
    assert verify_store(store.uri) == (2, [])
    assert list((tmp_path / "store").glob("**/_new-*")) == []


def test_a_store_whose_creation_was_cut_short_is_completed(tmp_path: Path) -> None:
    new_store(tmp_path / "store")
    (tmp_path / "store" / "examples.parquet").unlink()
    assert new_store(tmp_path / "store").examples().num_rows == NUM_TRAIN + NUM_TEST


@pytest.mark.parametrize("folder", ["targets", "failures"])
@pytest.mark.parametrize("content", ["{", "7", '{"x": "y"}'])
def test_damaged_small_files_are_named(tmp_path: Path, folder: str, content: str) -> None:
    store = new_store(tmp_path / "store")
    (tmp_path / "store" / folder).mkdir(exist_ok=True)
    (tmp_path / "store" / folder / f"{SHARD.shard_id}.json").write_text(content)
    damaged: list[DamagedFileError] = []
    _ = store.targets(damaged) if folder == "targets" else store.failures(damaged=damaged)
    assert [str(error).startswith(f"{tmp_path}/store/{folder}/{SHARD.shard_id}.json: is damaged") for error in damaged]
    assert f"(longtail verify {store.uri} --repair sets it aside; " in str(damaged[0])


def test_leftovers_of_killed_writers_are_invisible_and_swept(tmp_path: Path) -> None:
    store = new_store(tmp_path / "store")
    store.commit(SHARD, results(SHARD))
    folder = tmp_path / "store" / "results"
    fresh, old = folder / "_new-1-x.parquet", folder / "_new-2-x.parquet"
    for leftover in (fresh, old):
        leftover.write_bytes(b"PAR1 half a file")
    os.utime(old, (time.time() - STALE_SECONDS - 1,) * 2)
    assert store.shards() == [SHARD]
    assert len(pd.read_parquet(folder)) == 4
    assert verify_store(store.uri) == (2, [])
    store.clean()
    assert fresh.exists()
    assert not old.exists()


def test_failures_are_listed_until_the_shard_is_there(store: Store) -> None:
    failure = Failure(SHARD.shard_id, 2, "ValueError: no", "Traceback ...")
    store.record_failure(failure)
    assert store.failures() == [failure]
    store.commit(SHARD, results(SHARD))
    assert store.failures() == []
    store.clear_failure(SHARD)
    store.clear_failure(SHARD)
