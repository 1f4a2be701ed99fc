"""The store: what is committed, what is refused, and what damage is found."""

import dataclasses
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

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.store_ops.verify import missing_runs, verify_store
from tests.conftest import small_campaign
from tests.stores import NUM_TEST, NUM_TRAIN, examples, header, new_store, powerless, results
from workers.campaign.keys import Run, Shard
from workers.errors import ConflictError, DamagedFileError, StoreError, StoreMismatchError
from workers.store import Failure, Store
from workers.store.files.base import STALE_SECONDS
from workers.store.parquet.table_file import encode

SHARD = Shard(500_000, 0, 2)
NEXT = Shard(500_000, 2, 4)


@pytest.fixture(params=["disk", "fsspec"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store on each kind of place."""
    return new_store(tmp_path / "store" if request.param == "disk" else f"memory://{tmp_path.name}/store")


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


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Path, bytes]:
    """A store with one shard, its file, and the file's bytes."""
    folder = tmp_path_factory.mktemp("damage") / "store"
    store = new_store(folder)
    store.commit(SHARD, results(SHARD))
    path = folder / "results" / f"{SHARD.shard_id}.parquet"
    return store, path, path.read_bytes()


@pytest.mark.slow
@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found_or_changes_nothing(
    committed: tuple[Store, Path, bytes], place: float, bit: int
) -> None:
    store, path, whole = committed
    damaged = bytearray(whole)
    damaged[int(place * len(whole))] ^= 1 << bit
    path.write_bytes(damaged)
    problem = store.maintenance.inspect(f"results/{path.name}")
    if problem is None:
        table = store.read(SHARD)
        path.write_bytes(whole)
        columns = [name for name in table.column_names if name not in ("seconds", "device")]
        assert table.select(columns).equals(store.read(SHARD).select(columns))
    path.write_bytes(whole)
    assert store.maintenance.inspect(f"results/{path.name}") is None


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_found(committed: tuple[Store, Path, bytes], share: float) -> None:
    store, path, whole = committed
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DamagedFileError, match=str(path)):
        store.read(SHARD)
    assert store.maintenance.inspect(f"results/{path.name}") is not None
    path.write_bytes(whole)


def test_verify_names_damage_and_repair_sets_it_aside(tmp_path: Path) -> None:
    store = new_store(tmp_path / "store")
    third = Shard(500_000, 4, 6)
    for shard in (SHARD, NEXT, third):
        store.commit(shard, results(shard))
    folder = tmp_path / "store" / "results"
    (folder / f"{NEXT.shard_id}.parquet").write_bytes(b"PAR1")
    shutil.copy(folder / f"{SHARD.shard_id}.parquet", folder / "r500000-000006-000008.parquet")
    pq.write_table(store.read(third).slice(0, 1).replace_schema_metadata(None), folder / f"{third.shard_id}.parquet")
    (folder / "notes.txt").write_text("mine")
    checked, findings = verify_store(store.uri)
    assert checked == 6
    assert {Path(finding.path).name for finding in findings} == {
        f"{NEXT.shard_id}.parquet",
        "r500000-000006-000008.parquet",
        f"{third.shard_id}.parquet",
        "notes.txt",
    }
    verify_store(store.uri, repair=True)
    assert store.shards() == [SHARD]
    assert verify_store(store.uri) == (2, [])
    assert len(list((tmp_path / "store" / "damaged").iterdir())) == 4


def test_repair_overwrites_nothing_that_was_set_aside(store: Store) -> None:
    for content in (b"PAR1", b"first", b"second"):
        store.commit(SHARD, results(SHARD))
        store._files.replace(f"results/{SHARD.shard_id}.parquet", content)
        _, (finding,) = verify_store(store.uri, repair=True)
        assert finding.problem == "is damaged: is not a whole Parquet file"
    aside = [f"{SHARD.shard_id}.parquet{ending}" for ending in ("", ".2", ".3")]
    assert store._files.names("damaged") == aside
    assert [bytes(store._files.read(f"damaged/{name}") or b"") for name in aside] == [b"PAR1", b"first", b"second"]


def test_verify_covers_every_folder(store: Store) -> None:
    """Examples, targets, failures and estimates: named, set aside, and written again."""
    store.commit(SHARD, results(SHARD))
    store.add_target(small_campaign().subsets)
    store.write_estimate("memorization", pa.table({"mem": np.arange(1000.0)}), {})
    assert verify_store(store.uri) == (4, [])
    files = store._files
    estimate = bytearray(files.read("estimates/memorization.parquet") or b"")
    estimate[len(estimate) // 2] ^= 1
    damaged = {
        "examples.parquet": encode(examples().slice(1), {}).to_pybytes(),
        "targets/notes.txt": b"mine",
        "targets/r500000-000003.json": b"{}}",
        "failures/r500000-000000-000002.json": b"{}",
        "estimates/memorization.parquet": bytes(estimate),
    }
    for path, content in damaged.items():
        files.replace(path, content)
    problems = {finding.path.removeprefix(f"{store.uri}/"): finding.problem for finding in verify_store(store.uri)[1]}
    assert problems.keys() == damaged.keys()
    assert problems["examples.parquet"] == f"does not contain {NUM_TRAIN} training and {NUM_TEST} test examples"
    assert problems["estimates/memorization.parquet"].startswith("is damaged")
    assert all(finding.moved_to for finding in verify_store(store.uri, repair=True)[1])
    assert len(files.names("damaged")) == len(damaged)
    assert [(each.path.removeprefix(f"{store.uri}/"), each.problem) for each in verify_store(store.uri)[1]] == [
        ("examples.parquet", "is missing")
    ]
    assert new_store(store.uri).examples().num_rows == NUM_TRAIN + NUM_TEST
    assert verify_store(store.uri)[1] == []


def test_verify_names_runs_that_are_missing(store: Store) -> None:
    store.commit(Shard(600_000, 1, 3), results(Shard(600_000, 1, 3)))
    assert missing_runs(store.uri) == {}
    store.add_target(small_campaign().subsets)
    assert missing_runs(store.uri) == {200_000: list(Shard(200_000, 0, 3).runs), 600_000: [Run(600_000, 0)]}


def test_another_campaigns_file_is_foreign(tmp_path: Path) -> None:
    store, other = new_store(tmp_path / "a"), Store.create(tmp_path / "b", header(data="c"), examples())
    other.commit(SHARD, results(SHARD))
    (tmp_path / "a" / "results").mkdir()
    shutil.copy(tmp_path / "b" / "results" / f"{SHARD.shard_id}.parquet", tmp_path / "a" / "results")
    assert store.maintenance.inspect(f"results/{SHARD.shard_id}.parquet") == "belongs to another campaign"


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b"null", b'{"store_format": 1}', b'{"store_format": 9}', b"\xff"]
)
def test_a_damaged_campaign_file_is_named(tmp_path: Path, content: bytes) -> None:
    new_store(tmp_path)
    (tmp_path / "campaign.json").write_bytes(content)
    with pytest.raises(DamagedFileError, match="campaign.json: "):
        Store.open(tmp_path)


def test_vectors_of_the_wrong_length_are_damage(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    short = [dataclasses.replace(result, subset=np.ones(NUM_TRAIN - 1, bool)) for result in results(SHARD)]
    with pytest.raises(ValueError, match=r"r500000-000000: subset must be bool\[21\], got bool\[20\]"):
        store.commit(SHARD, short)
    assert store.shards() == []
