"""The chaos harness, small: one campaign on a cluster whose workers, drivers, nodes and disk fail, bit for bit."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import analysis
from benchmarks.chaos import model
from benchmarks.chaos.campaign import Plan, chaos_campaign
from benchmarks.chaos.findings import Digest, compare, digest_store
from benchmarks.chaos.history import History
from benchmarks.chaos.isolated import run_plan
from benchmarks.chaos.model import Begun
from benchmarks.chaos.plans import draw_plan
from benchmarks.chaos.reader import Reader
from benchmarks.isolation import permitted
from orchestrator import run_campaign
from tests.synthetic import make_store
from workers.campaign.campaign import Subsets
from workers.campaign.keys import Run, Shard
from workers.store import Store
from workers.store.merge import encode_results

REPETITIONS, EPOCHS = 16, 12
FAULTS = [(2, "node killed"), (8, "node frozen, then back"), (18, "disk full")]
"""Those that strike more than one process. A worker, a driver killed, a worker that hangs: test_ray. Two drivers on one
store: tests/campaigns/test_until_se.py."""


def in_peace(folder: Path) -> Digest:
    """The digest of the campaign trained in this process; its model lies where a user's would."""
    shutil.copy(str(model.__file__), folder / f"{model.MODEL}.py")
    store = str(folder / "s")
    run_campaign(chaos_campaign(REPETITIONS, EPOCHS), store, shard_size=1)
    analysis.write_estimates(Store.open(store))
    requested = {Run(ratio_ppm, r).run_id for ratio_ppm in (300_000, 700_000) for r in range(REPETITIONS)}
    digest, problems = digest_store(store, requested)
    assert problems == []
    return digest


@pytest.mark.ray
@pytest.mark.skipif(not permitted(), reason="needs network, process and mount namespaces")
def test_whatever_fails_every_run_is_there_once_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    digest = in_peace(tmp_path)
    result = run_plan(Plan("disk", "test", REPETITIONS, EPOCHS, FAULTS, digest), keep=tmp_path)
    assert result.problems == []
    assert [injection.name for injection in result.injections] == [name for _, name in FAULTS]
    assert sum(injection.lost + injection.duplicated for injection in result.injections) == 0
    assert sum(injection.again for injection in result.injections) > 0, "no fault took work away"
    assert any("No space left on device" in line for line in result.ended)
    assert result.polls > 0
    assert result.digest == digest


@pytest.mark.slow
def test_the_reader_and_the_digest_find_what_is_wrong(tmp_path: Path) -> None:
    """A harness that finds nothing must be one that would."""
    random = np.random.default_rng(0)
    subsets, train, test = (random.random((8, size)) < 0.5 for size in (20, 20, 6))
    store = make_store(tmp_path / "s", subsets, train, test, ratio=0.5, shard_size=1).uri
    Store.open(store).add_target(Subsets(ratios=(0.5,), repetitions=8))
    results, requested = tmp_path / "s" / "results", {Run(500_000, r).run_id for r in range(8)}
    (tmp_path / "s" / "estimates").mkdir()
    reader = Reader(store)
    reader.poll()
    assert (reader.polls, reader.errors, reader.fewer) == (3, [], [])
    sound, problems = digest_store(store, requested)
    assert (problems, compare(sound, sound)) == ([], [])

    (results / "r500000-000003-000004.parquet").unlink()
    reader.poll()
    assert (reader.errors, len(reader.fewer)) == ([], 3)
    one, other, both = (results / f"r500000-{a:06d}-{b:06d}.parquet" for a, b in ((5, 6), (6, 7), (5, 7)))
    rows = pa.concat_tables([pq.read_table(each, partitioning=None) for each in (one, other)])
    both.write_bytes(encode_results(rows, Shard(500_000, 5, 7), Store.open(store).header)[0])
    other.unlink()
    found, problems = digest_store(store, requested)
    assert problems == [
        "analysis.open_store: missing: ['r500000-000003']",
        "pandas.read_parquet: there more than once: ['r500000-000005']",
        "pandas.read_parquet: missing: ['r500000-000003']",
    ]
    assert compare(sound, found) == ["runs r500000-000003 epoch 1: differs from the undisturbed campaign's"]
    reader.poll()
    assert (reader.errors, reader.twice) == ([], 1)
    both.write_bytes(b"PAR1")
    reader.poll()
    assert len(reader.errors) == 3


def test_what_a_fault_cost() -> None:
    """Two workers (processes 1 and 2) at work; 1 dies over run 1, and process 3 takes its place and trains it."""
    runs = {seed: Run(500_000, seed) for seed in range(4)}
    history = History(runs.values())
    assert history.see([Shard(500_000, 0, 1)]) == []
    history.inject("worker killed")
    struck = history.injections[0].at
    assert history.see([Shard(500_000, 0, 1), Shard(500_000, 0, 2)]) == []
    assert history.see([Shard(500_000, 1, 4)]) == ["r500000-000000 was committed and is gone"]
    assert history.complete
    begun = [Begun(struck - 2, 1, 0), Begun(struck - 1, 1, 1), Begun(struck, 2, 2)]
    assert history.committed[runs[1]] > struck
    cost = history.account([*begun, Begun(struck + 1e-9, 3, 1)], runs)[0]
    assert (cost.runs, cost.again, cost.lost, cost.duplicated) == (3, 1, 1, 1)
    assert cost.replaced_after == history.committed[runs[1]] - struck
    assert cost.seconds == history.last_commit - struck


def test_a_seed_decides_the_faults() -> None:
    plans = [draw_plan(3, number, 11, (80, 36), compaction=True) for number in range(30)]
    assert plans == [draw_plan(3, number, 11, (80, 36), compaction=True) for number in range(30)]
    assert plans[0].faults != draw_plan(4, 0, 11, (80, 36), compaction=True).faults
    assert {plan.location for plan in plans} == {"disk", "bucket"}
    for plan in plans:
        points = [point for point, _ in plan.faults]
        assert points == sorted(points)
        assert len(points) == 11
        assert points[-1] < 2 * 80
    names = {name for plan in plans for _, name in plan.faults}
    assert {"worker killed", "disk full", "store: unreachable", "compaction, killed and repeated"} <= names
