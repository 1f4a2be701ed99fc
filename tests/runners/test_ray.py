"""Campaigns on Ray: the same bits as in one process, whatever dies on the way."""

import re
import signal
import sys
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from analysis import open_store
from benchmarks.isolation import actors_of, driver_of, finish, kill, longtail, permitted, start, wait_until
from orchestrator import campaign_status
from tests.campaigns.test_run import contents, estimates, runs_of
from tests.conftest import BUSY_RUNS, busy_campaign
from tests.hiding import hide_packages
from tests.one_cluster import read_ended
from workers.campaign.yaml_io import dump_campaign

pytestmark = pytest.mark.ray


def committed(store: Path) -> int:
    return len(list((store / "results").glob("r*.parquet")))


def has_committed(store: Path, files: int) -> bool:
    return committed(store) >= files


def test_whatever_happens_to_its_processes_a_campaign_ends_as_if_undisturbed(undisturbed: Path, tmp_path: Path) -> None:
    """A worker and the driver are killed; resumed, and a worker stands still until the end.

    Ray does not notice that one: the shards that it holds are trained by another. Models in stacks; those that train
    one at a time are in the chaos harness. A driver that gets SIGTERM is below. The current folder has modules of the
    names of Longtail's packages: they hide none of them on workers. (The `longtail` script is as safe; of `python -c`
    the driver is by -P.)
    """
    (tmp_path / "campaign.yaml").write_text(dump_campaign(busy_campaign()))
    hide_packages(tmp_path)
    store = tmp_path / "s"
    python, *words = longtail("run", tmp_path / "campaign.yaml", "-s", store, "--runner", "ray", "--workers", 2)
    command = [python, "-P", *words, "--shard-size", "2"]
    process = start(command, tmp_path, tmp_path)
    assert wait_until(partial(has_committed, store, 2), process, 240)
    kill(actors_of(process)[-1])
    assert wait_until(partial(has_committed, store, committed(store) + 1), process)
    kill(driver_of(process))
    finish(process)
    assert committed(store) < BUSY_RUNS // 2, "the campaign ended before it was disturbed enough"
    assert (tmp_path / ".ray" / "auth_token").exists(), "the cluster was open to everybody"
    process = start(command, tmp_path, tmp_path)
    assert wait_until(partial(has_committed, store, committed(store) + 1), process)
    kill(actors_of(process)[0], signal.SIGSTOP)
    code, output = finish(process)
    assert code == 0, output
    assert f"{BUSY_RUNS} of {BUSY_RUNS} runs" in output
    assert len(runs_of(store)) == len(set(runs_of(store))) == BUSY_RUNS
    assert contents(store) == contents(undisturbed)
    assert estimates(store) == estimates(undisturbed)


def test_commands_on_an_existing_cluster(one_cluster: Path) -> None:
    """A campaign that ends, one that gets SIGTERM, one that has no slot, errors of user code (also such as end a
    process), a model that kills its process, and influence."""
    codes = {"plain": 0, "interrupted": 130, "none": 1, "ending": 1, "dying": 1, "influence": 0}
    ended = {name: end for name, end in read_ended(one_cluster).items() if name in codes}
    assert {name: code for name, (code, _) in ended.items()} == codes, ended
    said = {name: text for name, (_, text) in ended.items()}
    assert "6 of 6 runs" in said["plain"]
    assert f"interrupted; what is in {one_cluster / 'interrupted'} stays" in said["interrupted"]
    error = "error: the Ray cluster has no slot for a worker with 3 GPUs: it has 2 CPUs and 2 GPUs"
    assert f"{error} (--workers N waits for nodes that join" in said["none"]
    assert "failed: r200000-000000-000003: sys.exit(0) was called (traceback: " in said["ending"]
    assert "in _end" in campaign_status(str(one_cluster / "ending")).failures[0].traceback
    assert "the worker's process died 2 times while it trained this shard" in said["dying"]
    assert not any("Traceback" in text for text in said.values()), said
    found = pd.read_parquet(one_cluster / "pairs.parquet")
    assert len(found) > 10
    pd.testing.assert_frame_equal(open_store(one_cluster / "planted").discoveries(fdr=0.05), found, check_exact=True)


@pytest.mark.skipif(not permitted(), reason="needs a network of its own")
def test_nodes_join_leave_and_die_and_at_last_the_head(tmp_path: Path) -> None:
    """See tests.moving_cluster. A lost head ends the driver with one line: not after Ray's minute, in which its calls
    cannot be interrupted, and not with Ray's words."""
    code, output = finish(start([sys.executable, "-m", "tests.moving_cluster", str(tmp_path / "s")], tmp_path))
    steps = [
        "two workers on the node that joined",
        "a third on the next node",
        "nodes are told by name",
        "its workers left the node that ends soon",
        "a node died",
    ]
    assert [line for line in output.splitlines() if line.endswith(": True")] == [f"{step}: True" for step in steps]
    lost = r"error: the Ray cluster's head at [\d.]+:\d+ does not answer: \[Errno 111\] Connection refused"
    assert re.fullmatch(lost, output.splitlines()[-1]), output
    assert code == 1
