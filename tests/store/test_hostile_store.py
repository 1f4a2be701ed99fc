"""A store or a campaign file from somebody who means harm: no code runs, no memory fills, one line says what is wrong.

Stores are read in a process of their own that may take little more memory than it has after its imports.
"""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.store_ops.verify import verify_store
from tests.stores import NUM_TRAIN, new_store, results
from workers.campaign.keys import Shard
from workers.campaign.yaml_io import read_campaign
from workers.errors import CampaignError, DamagedFileError, StoreError
from workers.store import Failure, Store
from workers.store.files.local import LocalFiles
from workers.store.parquet.pages import check_pages

SHARD = Shard(500_000, 0, 2)
NAME = f"{SHARD.shard_id}.parquet"

READER = """
import resource, shutil, sys
from pathlib import Path
import pyarrow.parquet
from workers.errors import LongtailError
from workers.store import Store

store = Store.open(sys.argv[1])
def look(path):
    try:
        list(store.scan(["run_id", "device", "train_correct"]))
    except LongtailError:
        pass
    problem = store.maintenance.inspect(path)
    return problem
look("results/" + sys.argv[2])
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20),) * 2)
for hostile in sys.argv[3:]:
    place = "examples.parquet" if Path(hostile).name.startswith("examples") else "results/" + sys.argv[2]
    shutil.copy(hostile, Path(sys.argv[1], place))
    print(Path(hostile).name, look(place), sep=": ", flush=True)
"""


def altered(table: pa.Table, **columns: Any) -> pa.Table:
    for name, values in columns.items():
        position = table.column_names.index(name)
        table = table.set_column(position, table.schema.field(name), pa.array(values, table.schema.field(name).type))
    return table


def long_lists(rows: int, width: int) -> pa.Array:
    flat = pa.array(np.zeros(rows * width, bool))
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * width)
    kind = pa.list_(pa.field("element", pa.bool_(), nullable=False))
    return pa.ListArray.from_arrays(offsets, flat, type=kind)


def nested(depth: int) -> pa.Table:
    values: pa.Array = pa.array([1, 2])
    for _ in range(depth):
        values = pa.StructArray.from_arrays([values], ["x"])
    return pa.table({"run_id": values})


def hostile_tables(table: pa.Table) -> dict[str, tuple[Callable[[], pa.Table], str]]:
    """By name: a table in place of a shard's, and what is to be said of it."""
    rows, many = table.num_rows, 3_000_000
    return {
        "texts": (lambda: altered(table, device=["a" * (64 << 20)] * rows), "claims a column of more than"),
        "text": (lambda: altered(table, device=["a" * 5000] * rows), "column device: holds a text of 5000 bytes"),
        "lists": (
            lambda: table.set_column(5, table.schema.field(5), long_lists(rows, 1 << 24)),
            f"column subset: has {rows << 24} values, expected {rows * NUM_TRAIN}",
        ),
        "rows": (lambda: table.take(pa.array(np.zeros(many, np.int32))), f"has {many} rows, expected 2 to 4"),
        "nested": (lambda: nested(400), "a header|has unexpected columns|footer"),
        "columns": (lambda: pa.table({f"c{i}": [1] for i in range(10_000)}), "has unexpected columns|claims a footer"),
        "types": (lambda: altered(table).cast(_wider(table.schema)), "has unexpected columns"),
        "metadata": (lambda: table.replace_schema_metadata({"x": "y" * (3 << 20)}), "claims a footer of"),
    }


def _wider(schema: pa.Schema) -> pa.Schema:
    return schema.set(3, schema.field(3).with_type(pa.int64()))


@pytest.mark.slow
def test_hostile_results_are_refused_in_little_memory(tmp_path: Path) -> None:
    store = new_store(tmp_path / "store")
    store.commit(SHARD, results(SHARD))
    table = pq.read_table(f"{store.uri}/results/{NAME}")
    expected: dict[str, str] = {}
    for name, (make, problem) in hostile_tables(table).items():
        pq.write_table(make(), tmp_path / name, compression="zstd", write_page_checksum=True, max_rows_per_page=None)
        expected[name] = problem
    examples = pq.read_table(f"{store.uri}/examples.parquet").take(pa.array(np.zeros(10_000_000, np.int32)))
    pq.write_table(examples, tmp_path / "examples", compression="zstd")
    expected["examples"] = "has 10000000 rows, expected 0 to 26"
    for name, content, problem in hostile_footers():
        (tmp_path / name).write_bytes(content)
        expected[name] = problem
    sizes = {name: (tmp_path / name).stat().st_size for name in expected}
    assert max(sizes.values()) < 8 << 20
    done = subprocess.run(
        [sys.executable, "-c", READER, store.uri, NAME, *(str(tmp_path / name) for name in expected)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    for name, problem in expected.items():
        assert any(part in told[name] for part in problem.split("|")), (name, told[name])


def hostile_footers() -> list[tuple[str, bytes, str]]:
    """Files that are nothing but a footer."""
    footers = {
        "deep": (b"\x1c" * (1 << 20), "nested too deeply"),
        "endless": (b"\x19\xf5\xff\xff\xff\xff\x7f", "a truncated list"),
        "number": (b"\x15" + b"\xff" * 1000, "an unterminated integer"),
        "text": (b"\x18\xff\xff\xff\xff\x0f", "a header is truncated"),
        "empty": (b"\x00", "is not one of a Parquet file"),
        "zeros": (b"\x00" * (1 << 20), "is not one of a Parquet file"),
        "structs": (b"\x19\xfc\xff\xff\x3f" + b"\x00" * (1 << 20), "is not one of a Parquet file"),
    }
    return [
        (f"footer-{name}", b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1", problem)
        for name, (footer, problem) in footers.items()
    ]


def page(values: int, size: int, compressed: int, encoding: int = 0) -> bytes:
    """A data page's header, and so many bytes."""

    def varint(number: int) -> bytes:
        number, octets = number << 1, b""
        while number > 127:
            octets, number = octets + bytes([number & 127 | 128]), number >> 7
        return octets + bytes([number])

    detail = b"\x15" + varint(values) + b"\x15" + varint(encoding) + b"\x15\x06\x15\x06\x00"
    header = b"\x15\x00\x15" + varint(size) + b"\x15" + varint(compressed) + b"\x2c" + detail + b"\x00"
    return header + bytes(compressed)


@pytest.mark.parametrize(
    ("chunk", "problem"),
    [
        (page(8, 10, 4), None),
        (page(3, 10, 4) + page(5, 10, 4), None),
        (page(2**31 - 1, 10, 4), "claims more than the 8 values"),
        (page(8, 2**31 - 1, 4), "claims a column of more than 100 bytes"),
        (page(4, 60, 4) + page(4, 60, 4), "claims a column of more than 100 bytes"),
        (page(7, 10, 4), "has 7 values in a column of 8"),
        (page(8, 10, 4)[:-1], "a page ends beyond its column"),
        (page(8, 10, 4, encoding=7), "encoding 7"),
        (b"\xff" * 20, "is damaged"),
        (b"", "has 0 values in a column of 8"),
    ],
)
def test_what_pages_claim_is_checked_before_they_are_decoded(chunk: bytes, problem: str | None) -> None:
    if problem is None:
        check_pages(memoryview(chunk), 8, 100)
        return
    with pytest.raises(DamagedFileError, match=problem):
        check_pages(memoryview(chunk), 8, 100)


def test_a_file_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    store = new_store(tmp_path / "store")
    store.commit(SHARD, results(SHARD))
    os.truncate(Path(store.uri, "results", NAME), 3 << 30)
    assert store.maintenance.inspect(f"results/{NAME}") == f"has {3 << 30} bytes, more than the limit for store files"


class Payload:
    """Makes a folder where it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (self.path,))


def test_no_code_in_a_file_runs(tmp_path: Path) -> None:
    store = new_store(tmp_path / "store")
    store.commit(SHARD, results(SHARD))
    path = Path(store.uri, "results", NAME)
    table = pq.read_table(path)
    evil = pickle.dumps(Payload(str(tmp_path / "ran")))
    for name in (b"arrow.py_extension_type", b"pandas.period"):
        told = {b"ARROW:extension:name": name, b"ARROW:extension:metadata": evil}
        schema = table.schema.set(13, table.schema.field(13).with_metadata(told))
        schema = schema.with_metadata({**(table.schema.metadata or {}), b"pandas": evil})
        pq.write_table(table.cast(schema), path, write_page_checksum=True)
        store.maintenance.inspect(f"results/{NAME}")
        with suppress(DamagedFileError):  # once pandas has registered its types, Arrow asks them, and they refuse
            list(store.scan(["device", "train_correct"]))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b" " * (17 << 20), "has more than"),
        (b"[" * (1 << 20), "is damaged"),
        (b'{"campaign": ' * 10_000, "is damaged"),
    ],
)
def test_a_hostile_campaign_json(tmp_path: Path, content: bytes, problem: str) -> None:
    new_store(tmp_path)
    (tmp_path / "campaign.json").write_bytes(content)
    with pytest.raises(DamagedFileError, match=f"campaign.json: .*{problem}"):
        Store.open(tmp_path)


@pytest.mark.parametrize("field", ["num_train", "num_test", "shard_size"])
def test_absurd_numbers_in_campaign_json(tmp_path: Path, field: str) -> None:
    new_store(tmp_path)
    path = tmp_path / "campaign.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: 2**30}))
    with pytest.raises(DamagedFileError, match=f"campaign.json: is damaged: {field}: Input should be less than"):
        Store.open(tmp_path)


@pytest.mark.parametrize("folder", ["targets", "failures"])
@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b" " * (5 << 20),
        b'{"500000": 1000000000000}',
        b'{"500000": true}',
        b'{"' + b"5" * 5000 + b'": 3}',
        b'{"\xc2\xb2": 3}',
        b"1" * 5000,
        b'{"shard_id": "../x", "attempts": 1, "message": "", "traceback": ""}',
        b'{"shard_id": "r500000-000000-000002", "attempts": 1e999, "message": "", "traceback": ""}',
    ],
)
def test_hostile_small_files(tmp_path: Path, folder: str, content: bytes) -> None:
    store = new_store(tmp_path / "store")
    path = tmp_path / "store" / folder / f"{SHARD.shard_id}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    damaged: list[DamagedFileError] = []
    assert not (store.targets(damaged) if folder == "targets" else store.failures(damaged=damaged))
    assert [error.problem.startswith(f"{path}: is damaged") for error in damaged] == [True]
    assert [Path(finding.path) for finding in verify_store(store.uri)[1]] == [path]


def test_a_failure_cannot_steer_the_terminal(tmp_path: Path) -> None:
    store = new_store(tmp_path / "store")
    store.record_failure(Failure(SHARD.shard_id, 1, "\x1b]0;gone\x07", "a\n\tb"))
    (failure,) = store.failures()
    assert failure.message == "\ufffd]0;gone\ufffd"
    assert failure.traceback == "a\n\tb"


def test_names_cannot_escape_the_store(tmp_path: Path) -> None:
    store = new_store(tmp_path / "store")
    for name in ("../x", "a/b", "", "..", ".hidden", "a\x00b", "x" * 300, "a\n"):
        with pytest.raises(ValueError, match="name must be"):
            store.write_estimate(name, pa.table({"a": [1]}), {})
    for path in ("../x", "results/../../x", "results/..", "results/", "/etc/passwd", "campaign.json", "results/a/b"):
        with pytest.raises(ValueError, match="must be a file of the store"):
            store.maintenance.set_aside(path)
    with pytest.raises(ValueError, match="shard_id"):
        store.record_failure(Failure("../../x", 1, "", ""))


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    """A pipe would block, a device never end. Links to files are followed, as data managers make them."""
    store = new_store(tmp_path / "store")
    store.commit(SHARD, results(SHARD))
    place = Path(store.uri, "results", NAME)
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    assert verify_store(store.uri) == (2, [])
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        place.unlink()
        make(place)
        with pytest.raises(DamagedFileError, match="is not a regular file"):
            store.read(SHARD)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]",
        "[" * 60_000,
        "a: " * 30_000,
        "{" * 60_000,
        "- " * 60_000,
        "x: " + ":".join(["59"] * 40_000),
        "x: !!python/object/apply:os.mkdir [ran]",
        "- a\n" * 100_000,
        "x: 1e999999",
        "? " * 60_000,
    ],
    ids=lambda text: text[:10],
)
def test_a_hostile_campaign_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "campaign.yaml"
    path.write_text(text)
    with pytest.raises(CampaignError) as caught:
        read_campaign(path)
    assert all(line.startswith(f"{path}: ") and len(line) < 400 for line in str(caught.value).splitlines())


def test_nothing_is_written_through_a_link_out_of_the_store(tmp_path: Path) -> None:
    store = new_store(tmp_path / "store")
    for folder in ("results", "estimates"):
        (tmp_path / f"mine-{folder}").mkdir()
        (tmp_path / f"mine-{folder}" / "a.parquet").write_bytes(b"PAR1")
        with suppress(FileNotFoundError):
            (tmp_path / "store" / folder).rmdir()
        (tmp_path / "store" / folder).symlink_to(tmp_path / f"mine-{folder}")
    files = LocalFiles(tmp_path / "store")
    for write in (
        lambda: store.commit(SHARD, results(SHARD)),
        lambda: files.create("estimates/b.parquet", b""),
        lambda: files.replace("estimates/a.parquet", b""),
        lambda: files.delete("results/a.parquet"),
        lambda: files.move("results/a.parquet", "damaged/a.parquet"),
        lambda: files.move("campaign.json", "results/campaign.json"),
    ):
        with pytest.raises(StoreError, match="is a link that leads out of the store: nothing is written there"):
            write()
    left = [(path.name, path.read_bytes()) for path in sorted(tmp_path.glob("mine-*/*"))]
    assert left == [("a.parquet", b"PAR1")] * 2
    (tmp_path / "store" / "within").symlink_to(tmp_path / "store")
    assert files.create("within/c", b"1") and (tmp_path / "store" / "c").read_bytes() == b"1"
    (tmp_path / "alias").symlink_to(tmp_path / "store")  # the store itself may be one
    assert LocalFiles(tmp_path / "alias").create("d", b"1")
