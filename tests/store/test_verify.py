"""Damaged files of a store: what reading and `verify` find, and what repair sets aside."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.store_ops.verify import missing_runs, verify_store
from tests.conftest import small_campaign
from tests.stores import NUM_TEST, NUM_TRAIN, examples, header, new_store, results
from workers.campaign.keys import Run, Shard
from workers.errors import DamagedFileError
from workers.store import Store
from workers.store.parquet.table_file import encode

SHARD = Shard(500_000, 0, 2)
NEXT = Shard(500_000, 2, 4)


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
