"""Every kind of place that holds a store keeps one contract; object stores keep it while they fail."""

import os
import signal
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from orchestrator import run_campaign
from orchestrator.store_ops.compact import compact_store
from orchestrator.store_ops.status import campaign_status
from orchestrator.store_ops.verify import verify_store
from tests.command import call
from tests.conftest import small_campaign
from tests.faulty_proxy import Fault, FaultyProxy, Request, at_a_rate
from tests.object_stores import BUCKET, moto, swift, use
from tests.stores import new_store, results
from workers.campaign.keys import Shard
from workers.campaign.yaml_io import dump_campaign
from workers.errors import ConflictError, DamagedFileError, StoreError
from workers.store import Failure, Store
from workers.store.files import object_store, uris
from workers.store.files.base import Files, open_files
from workers.store.files.object_store import SMALL_BYTES, RetryPolicy

SHARD = Shard(500_000, 0, 2)
NAME = f"{SHARD.shard_id}.parquet"


@pytest.fixture(scope="module")
def moto_url() -> Iterator[str]:
    with moto() as url:
        yield url


@pytest.fixture(scope="module")
def swift_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with swift(tmp_path_factory.mktemp("swift")) as url:
        yield url


@pytest.fixture
def proxy(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """A proxy in front of moto, to which the environment points."""
    host, _, port = moto_url.removeprefix("http://").partition(":")
    server = FaultyProxy((host, int(port)))
    use(monkeypatch, server.url)
    yield server
    server.stop()


@pytest.fixture
def s3() -> str:
    """The URI of a store that does not exist yet."""
    return f"s3://{BUCKET}/{uuid.uuid4().hex}/store"


@pytest.fixture(params=["disk", "fsspec", "moto", "swift"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3: str) -> str:
    """Where a store can be made, on each kind of place."""
    match request.param:
        case "disk":
            return str(tmp_path / "store")
        case "fsspec":
            return f"memory://{uuid.uuid4().hex}/store"
        case "moto":
            use(monkeypatch, request.getfixturevalue("moto_url"))
        case "swift":
            use(monkeypatch, request.getfixturevalue("swift_url"), "test:tester", "testing")
    return s3


def content_of(files: Files, path: str) -> bytes:
    found = files.read(path)
    assert found is not None, path
    return bytes(found)


# The contract of `Files` ----------------------------------------------------------------------------------------------


class TestContract:
    """What a store relies on, on each kind of place."""

    @pytest.fixture
    def files(self, place: str) -> Files:
        files = open_files(place)
        files.make_root()
        return files

    @pytest.mark.slow
    def test_what_is_not_there(self, files: Files) -> None:
        assert (files.names(""), files.names("a/b"), files.read("a/b"), files.open("a/b")) == ([], [], None, None)
        files.delete("a/b")
        files.clean()
        with pytest.raises(StoreError, match="a/b"):
            files.move("a/b", "c/d")

    @pytest.mark.slow
    def test_what_is_created_is_there_and_stays(self, files: Files) -> None:
        assert files.create("a/b", b"one")
        assert files.create("a/empty", b"")
        assert not files.create("a/b", b"two")
        assert content_of(files, "a/b") == b"one"
        assert content_of(files, "a/empty") == b""
        assert files.names("a") == ["b", "empty"]
        assert [name for name in files.names("") if not name.startswith("_")] == ["a"]
        assert content_of(open_files(files.uri), "a/b") == b"one"

    @pytest.mark.slow
    def test_what_a_store_was_moved_away_from_or_replaced_by_another_is_noticed(self, files: Files) -> None:
        files.check()
        files.create("campaign.json", b"ours")
        bound = open_files(files.uri)
        bound.bind("campaign.json", b"ours")
        bound.check()
        files.replace("campaign.json", b"ours")
        bound.check()
        files.replace("campaign.json", b"theirs")
        with pytest.raises(StoreError, match="was replaced by another store"):
            bound.check()
        files.delete("campaign.json")
        with pytest.raises(StoreError, match="the store no longer exists"):
            bound.check()

    @pytest.mark.slow
    def test_replaced_moved_and_deleted(self, files: Files) -> None:
        files.replace("a/b", b"one")
        files.replace("a/b", b"and two")
        assert content_of(files, "a/b") == b"and two"
        files.create("a/c", b"three")
        files.move("a/b", "d/e")
        assert (files.names("a"), files.names("d"), content_of(files, "d/e")) == (["c"], ["e"], b"and two")
        files.replace("a/b", b"again")
        files.move("a/b", "d/e")
        assert content_of(files, "d/e") == b"again"
        files.delete("a/c")
        assert (files.names("a"), files.read("a/c")) == ([], None)
        assert files.create("a/c", b"anew")

    @pytest.mark.slow
    @pytest.mark.parametrize("size", [1000, SMALL_BYTES + 1000, 11 << 20])
    def test_parts_of_a_file(self, files: Files, size: int) -> None:
        content = np.random.default_rng(0).bytes(size)
        files.create("a/big", pa.py_buffer(content))
        file = files.open("a/big")
        assert file is not None
        with file:
            assert file.size() == size
            assert file.read_at(300, 500) == content[500:800]
            file.seek(-100, 2)
            assert file.read() == content[-100:]
            assert file.read() == b""
        assert content_of(files, "a/big") == content

    @pytest.mark.slow
    @pytest.mark.parametrize("alike", [True, False], ids=["equal", "different"])
    def test_of_racing_writers(self, files: Files, alike: bool) -> None:
        """Equal contents: nobody fails. Different ones: at most one writer believes that its content was committed."""
        together = threading.Barrier(6)

        def write(number: int) -> str:
            together.wait()
            try:
                content = b"same" if alike else f"content {number}".encode()
                return "created" if open_files(files.uri).create("a/b", content) else "exists"
            except ConflictError:
                return "conflict"

        for _ in range(3):
            with ThreadPoolExecutor(6) as pool:
                outcomes = list(pool.map(write, range(6)))
            assert "conflict" not in outcomes if alike else outcomes.count("created") <= 1
            assert files.names("a") == ["b"]
            files.delete("a/b")


@pytest.mark.slow
def test_a_store_from_creation_to_repair(place: str) -> None:
    store = new_store(place)
    first, second = SHARD, Shard(500_000, 2, 4)
    assert store.commit(first, results(first))
    assert store.commit(second, results(second))
    assert not store.commit(first, results(first, seconds=9.0))
    with pytest.raises(ConflictError, match="is committed with other content"):
        store.commit(first, results(first, seed=1))
    assert verify_store(place) == (3, [])
    open_files(place).replace(f"results/{NAME}", b"PAR1")
    with pytest.raises(DamagedFileError, match=NAME):
        store.read(first)
    _, findings = verify_store(place, repair=True)
    assert [finding.moved_to for finding in findings] == [open_files(place).location(f"damaged/{NAME}")]
    assert store.shards() == [second]
    assert store.commit(first, results(first))
    assert verify_store(place) == (3, [])


@pytest.mark.slow
def test_compacted_everywhere(place: str) -> None:
    store, whole = new_store(place), Shard(500_000, 0, 8)
    committed = [Shard(500_000, start, start + 2) for start in range(0, 8, 2)]
    for shard in committed:
        store.commit(shard, results(shard))
    before = [store.read(shard).drop_columns(["device"]) for shard in committed]
    assert compact_store(place, grace=0).after == 1
    assert store.shards() == [whole]
    assert store.read(whole).drop_columns(["device"]).equals(pa.concat_tables(before).combine_chunks())
    assert verify_store(place) == (2, [])
    assert store.commit(committed[0], results(committed[0]))
    assert compact_store(place, grace=0).after == 1


def test_wrong_keys_are_refused(swift_url: str, monkeypatch: pytest.MonkeyPatch, s3: str) -> None:
    use(monkeypatch, swift_url, "test:tester", "wrong")
    with pytest.raises(StoreError, match=f"{s3}/campaign.json: .*ACCESS_DENIED"):
        Store.open(s3)


# Faults ---------------------------------------------------------------------------------------------------------------


def contents(uri: str) -> dict[str, pa.Table]:
    """Every committed shard, without what differs between two trainings of it."""
    store = Store.open(uri)
    return {shard.shard_id: store.read(shard).drop_columns(["seconds", "device"]) for shard in store.shards()}


@pytest.mark.slow
def test_a_campaign_on_a_failing_store_ends_with_the_same_bits(
    proxy: FaultyProxy, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "RETRY_POLICY", RetryPolicy(shortest=0.01, longest=0.1))
    campaign = small_campaign(subsets={"ratios": [0.2, 0.6], "repetitions": 6, "seed": 5})
    run_campaign(campaign, tmp_path / "s", shard_size=1)
    proxy.disturb = at_a_rate(0.15, seed=3)
    report = run_campaign(campaign, s3, shard_size=1)
    assert report.complete
    assert proxy.injected > 5
    assert verify_store(s3, repair=True) == (14, [])
    proxy.disturb = lambda request: None
    assert contents(s3) == contents(str(tmp_path / "s"))


@pytest.mark.slow
@pytest.mark.parametrize("fault", [(503, "SlowDown"), (429, "TooManyRequests"), "reset", "silence"], ids=str)
def test_a_store_that_stays_away_ends_in_one_line(
    proxy: FaultyProxy, s3: str, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "RETRY_POLICY", RetryPolicy(first=0.5, later=0.5, shortest=0.01, longest=0.1))
    monkeypatch.setattr(uris, "SILENCE_SECONDS", 1.0)
    store = new_store(s3)
    proxy.disturb = lambda request: fault if "/store/results" in request.path else None
    with pytest.raises(StoreError, match=f"^{s3}/results/{NAME}: ") as caught:
        new_store(s3).commit(SHARD, results(SHARD))
    assert "attempts in" in str(caught.value)
    assert "\n" not in str(caught.value)
    proxy.disturb = lambda request: None
    store.commit(SHARD, results(SHARD))
    assert verify_store(s3) == (2, [])


@pytest.mark.slow
def test_the_command_line_on_a_store_that_goes_away_and_comes_back(proxy: FaultyProxy, s3: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(dump_campaign(small_campaign()))
    answers: Iterator[Fault] = chain([None], repeat((403, "AccessDenied")))  # throttling would be waited for
    proxy.disturb = lambda request: (
        next(answers) if request.method == "PUT" and "/store/results" in request.path else None
    )
    command = ("run", tmp_path / "c.yaml", "--store", s3, "--shard-size", 1)
    code, _, errors = call(*command)
    assert (code, errors.count("error: "), errors.count("Traceback")) == (1, 1, 0)
    assert f"error: {s3}/" in errors
    assert "ACCESS_DENIED" in errors
    proxy.disturb = lambda request: None
    assert call(*command)[0] == 0
    open_files(s3).replace("results/r200000-000000-000001.parquet", b"PAR1")
    code, output, errors = call("verify", s3, "--repair")
    assert (code, "r200000-000000-000001.parquet" in output + errors) == (0, True)
    assert campaign_status(s3).committed == 5
    assert run_campaign(small_campaign(), s3).progress.trained == 1
    assert verify_store(s3) == (8, [])


@pytest.mark.slow
def test_a_network_error_is_no_damage(proxy: FaultyProxy, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else `verify --repair` would set good files aside while a store is overloaded."""
    store = new_store(s3)
    store.commit(SHARD, results(SHARD))
    monkeypatch.setattr(object_store, "RETRY_POLICY", RetryPolicy(later=0.1, shortest=0.01, longest=0.1))
    monkeypatch.setattr(object_store, "SMALL_BYTES", 0)
    proxy.disturb = lambda request: (503, "SlowDown") if request.method == "GET" and NAME in request.path else None
    with pytest.raises(StoreError, match="SLOW_DOWN|SERVICE_UNAVAILABLE") as caught:
        verify_store(s3, repair=True)
    assert not isinstance(caught.value, DamagedFileError)
    proxy.disturb = lambda request: None
    assert verify_store(s3) == (2, [])


@pytest.mark.slow
def test_an_upload_cut_short_leaves_nothing(proxy: FaultyProxy, s3: str) -> None:
    proxy.disturb = lambda request: (403, "AccessDenied") if "partNumber=2" in request.path else None
    with pytest.raises(StoreError, match="results/big: .*ACCESS_DENIED"):
        open_files(s3).create("results/big", np.random.default_rng(0).bytes(11 << 20))
    proxy.disturb = lambda request: None
    assert open_files(s3).names("results") == []


@pytest.mark.slow
@pytest.mark.parametrize("part", ["uploads", "partNumber=1", "partNumber=2"])
def test_an_interrupted_upload_is_whole_or_nothing(proxy: FaultyProxy, s3: str, part: str) -> None:
    """Ctrl-C: closing a stream half-way would make half an object appear."""
    content, files = np.random.default_rng(0).bytes(11 << 20), open_files(s3)

    def interrupt(request: Request) -> Fault:
        if "/store/big" in request.path and part in request.path:
            os.kill(os.getpid(), signal.SIGINT)
        return None

    proxy.disturb = interrupt
    with pytest.raises(KeyboardInterrupt):
        files.create("big", content)
    proxy.disturb = lambda request: None
    found = files.read("big")
    assert found is None or found.equals(pa.py_buffer(content))


def test_a_move_cut_short_can_be_repeated(proxy: FaultyProxy, s3: str) -> None:
    files = open_files(s3)
    files.create("results/x", b"one")
    proxy.disturb = lambda request: (403, "AccessDenied") if request.method == "DELETE" else None
    with pytest.raises(StoreError, match="results/x: .*ACCESS_DENIED"):
        files.move("results/x", "damaged/x")
    assert (files.names("results"), files.names("damaged")) == (["x"], ["x"])
    proxy.disturb = lambda request: None
    files.move("results/x", "damaged/x")
    assert (files.names("results"), files.names("damaged")) == ([], ["x"])


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1], ids=["equal", "different"])
def test_a_frozen_writer_finds_out_on_waking(proxy: FaultyProxy, s3: str, seed: int) -> None:
    """One writer is held up between its look for the file and its PUT, while another one commits."""
    arrived, thawed = threading.Event(), threading.Event()

    def freeze_the_first(request: Request) -> Fault:
        if request.method == "PUT" and request.path.endswith(f"/store/results/{NAME}") and not arrived.is_set():
            arrived.set()
            thawed.wait(60)
        return None

    new_store(s3)
    first, second = Store.open(s3), Store.open(s3)
    proxy.disturb = freeze_the_first
    with ThreadPoolExecutor(1) as pool:
        frozen = pool.submit(first.commit, SHARD, results(SHARD))
        assert arrived.wait(60)
        assert second.commit(SHARD, results(SHARD, seed=seed))
        thawed.set()
        if seed == 0:
            assert frozen.result()
        else:
            with pytest.raises(ConflictError, match=f"{NAME}: another writer committed other content"):
                frozen.result()
    assert verify_store(s3) == (2, [])


# Requests -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_resuming_lists_each_folder_once(proxy: FaultyProxy, s3: str) -> None:
    run_campaign(small_campaign(), s3, shard_size=1)
    Store.open(s3).record_failure(Failure("r200000-000003-000004", 2, "ValueError: no", "Traceback ..."))
    proxy.log.clear()
    run_campaign(small_campaign(subsets={"ratios": [0.2, 0.6], "repetitions": 4, "seed": 5}), s3)
    listed = [request.path.partition("prefix=")[2].partition("&")[0] for request in proxy.log if request.lists]
    folders = Counter(prefix.rpartition("store%2F")[2].removesuffix("%2F") for prefix in listed)
    # Checkpoints are looked for at the start and at the end. Results are looked at twice at the end, by two listings
    # each, and once more to count what is there beyond; what is requested when it is requested, and at both ends.
    assert folders == {"": 1, "_checkpoints": 2, "_writing": 1, "failures": 1, "results": 1 + 4 + 1, "targets": 4}
    assert Store.open(s3).failures() == []


def test_a_commit_takes_five_requests_and_lists_nothing(proxy: FaultyProxy, s3: str) -> None:
    store = new_store(s3)
    proxy.log.clear()
    store.commit(SHARD, results(SHARD))
    assert [request.method for request in proxy.log] == ["PUT", "HEAD", "PUT", "HEAD", "GET"]
    assert not any(request.lists for request in proxy.log)


@pytest.mark.slow
def test_some_columns_of_a_large_file_are_not_the_whole_file(
    proxy: FaultyProxy, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "SMALL_BYTES", 100_000)
    store, shard = new_store(s3), Shard(500_000, 0, 12_000)
    store.commit(shard, results(shard))
    size = len(content_of(open_files(s3), f"results/{shard.shard_id}.parquet"))
    proxy.log.clear()
    assert store.read(shard, ["is_final"]).num_rows == 24_000
    ranges = [request.range.removeprefix("bytes=").split("-") for request in proxy.log if request.range]
    assert sum(int(stop) - int(start) + 1 for start, stop in ranges) < size / 2


@pytest.mark.slow
def test_old_claims_are_swept(proxy: FaultyProxy, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = new_store(s3)
    store.commit(SHARD, results(SHARD))
    store.clean()
    assert open_files(s3).names("_writing") != []
    monkeypatch.setattr(object_store, "STALE_SECONDS", -60.0)
    store.clean()
    assert open_files(s3).names("_writing") == []
    assert verify_store(s3) == (2, [])


# URIs -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri",
    [
        "s3://AKIA:hunter2@bucket/store",
        "s3://hunter2@bucket/store",
        "gs://user:hunter2@bucket/store",
        "sftp://user:hunter2@host/store",
        "s3://bucket/store?access_key=hunter2",
        "s3://bucket/store?region=x&secret_key=hunter2",
        "s3://bucket/store?nosuch=hunter2",
        "gs://bucket/store?access_token=hunter2",
        "abfs://bucket/store?sig=hunter2",
    ],
)
def test_credentials_in_a_uri_are_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(StoreError, match="environment alone|unknown option 'nosuch'") as caught:
        open_files(uri)
    assert "hunter2" not in str(caught.value)


def test_an_endpoint_may_be_given_in_the_uri(
    moto_url: str, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, "http://127.0.0.1:1")
    uri = f"{s3}?endpoint_override={moto_url.removeprefix('http://')}&scheme=http&region=us-east-1"
    store = new_store(uri)
    store.commit(SHARD, results(SHARD))
    assert Store.open(store.uri).shards() == [SHARD]


@pytest.mark.slow
@pytest.mark.parametrize("uri", ["s3://bucket/store", "gs://anonymous@bucket/store?scheme=http&endpoint_override="])
def test_a_store_out_of_reach_is_named(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "http://127.0.0.1:1")
    monkeypatch.setattr(object_store, "RETRY_POLICY", RetryPolicy(first=0.1))
    monkeypatch.setattr(uris, "GCS_SECONDS", 1.0)
    with pytest.raises(StoreError, match=r"://(anonymous@)?bucket/store/campaign.json: .*(NETWORK|UNAVAILABLE)"):
        Store.open(uri + "127.0.0.1:1" if uri.startswith("gs") else uri)
