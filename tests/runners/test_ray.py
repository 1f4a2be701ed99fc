"""Campaigns on Ray: the same bits as in one process, whatever dies on the way."""

import os
import random
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from benchmarks.isolation import actors_of, driver_of, finish, kill, longtail, permitted, start, wait_until
from orchestrator import campaign_status
from tests.campaigns.test_run import contents, estimates, runs_of
from tests.conftest import BUSY_RUNS, busy_campaign, small_campaign
from tests.hiding import hide_packages
from workers.campaign.campaign import Campaign
from workers.campaign.yaml_io import dump_campaign

pytestmark = pytest.mark.ray


def campaign_file(folder: Path, **parts: object) -> tuple[Campaign, Path]:
    campaign = small_campaign(**parts)
    path = folder / "campaign.yaml"
    path.write_text(dump_campaign(campaign))
    return campaign, path


def committed(store: Path) -> int:
    return len(list((store / "results").glob("r*.parquet")))


def has_committed(store: Path, files: int) -> bool:
    return committed(store) >= files


def test_killed_and_interrupted_at_random_moments_a_campaign_ends_as_if_undisturbed(
    undisturbed: Callable[[int], Path], tmp_path: Path
) -> None:
    """A worker and the driver are killed, then Ctrl-C, then SIGTERM; resumed until nothing is left. Models in stacks.

    Models one at a time: the chaos harness, and the worker that is frozen.
    """
    (tmp_path / "campaign.yaml").write_text(dump_campaign(busy_campaign()))
    store, chance = tmp_path / "s", random.Random(2)
    command = longtail("run", tmp_path / "campaign.yaml", "-s", store, "--runner", "ray", "--workers", 2)
    command += ["--shard-size", "2"]
    for number in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
        process = start(command, tmp_path)
        more = committed(store) + chance.randint(1, 3)
        assert wait_until(partial(has_committed, store, more), process)
        if number == signal.SIGKILL:
            kill(chance.choice(actors_of(process)))
            assert wait_until(partial(has_committed, store, more + 1), process)
        kill(driver_of(process), number)
        code, output = finish(process)
        assert committed(store) < BUSY_RUNS // 2, "the campaign ended before it was disturbed enough"
        if number != signal.SIGKILL:
            assert code == 130, output
            assert f"interrupted; what is in {store} stays" in output
            assert "Traceback" not in output
    code, output = finish(start(command, tmp_path))
    assert code == 0, output
    assert f"{BUSY_RUNS} of {BUSY_RUNS} runs" in output
    assert len(runs_of(store)) == len(set(runs_of(store))) == BUSY_RUNS
    assert contents(store) == contents(undisturbed(2))
    assert estimates(store) == estimates(undisturbed(2))


def test_a_cluster_without_gpus_is_told_apart(tmp_path: Path) -> None:
    _, path = campaign_file(tmp_path)
    command = longtail("run", path, "-s", tmp_path / "s", "--runner", "ray", "--gpus-per-worker", "0.5")
    code, output = finish(start(command, tmp_path))
    assert code == 1
    error = f"error: the Ray cluster has no slot for a worker with 0.5 GPUs: it has {os.cpu_count()} CPUs and 0 GPUs"
    assert f"{error} (--workers N waits for nodes that join" in output
    assert "Traceback" not in output


def test_errors_of_user_code_are_reported_from_ray(tmp_path: Path) -> None:
    """Of what would end a worker's process, too, and be taken for its loss.

    The current folder has modules of the names of Longtail's packages: they hide none of them, on workers neither.
    """
    model = {"name": "user_code:ending_model", "options": {"kind": "exit"}}
    _, path = campaign_file(tmp_path, model=model)
    hide_packages(tmp_path)
    command = [str(Path(sys.executable).with_name("longtail")), *longtail("run", path, "--store", tmp_path / "s")[3:]]
    code, output = finish(start([*command, "--runner", "ray"], tmp_path, tmp_path))
    assert code == 1
    assert "failed: r200000-000000-000003: sys.exit(0) was called (traceback: " in output
    assert "in _end" in campaign_status(str(tmp_path / "s")).failures[0].traceback
    assert (tmp_path / ".ray" / "auth_token").exists(), "the cluster was open to everybody"


def test_a_shard_that_kills_its_workers_is_given_up(tmp_path: Path) -> None:
    _, path = campaign_file(
        tmp_path, model={"name": "user_code:dying_model"}, subsets={"ratios": [0.5], "repetitions": 1}
    )
    code, output = finish(start(longtail("run", path, "-s", tmp_path / "s", "--runner", "ray"), tmp_path))
    assert code == 1
    assert "the worker's process died 5 times while it trained this shard" in output


@pytest.fixture
def short_path() -> Iterator[str]:
    """A folder whose name leaves room for Ray's sockets: they may have 107 characters."""
    with tempfile.TemporaryDirectory(prefix="lt-") as path:
        yield path


def test_an_existing_cluster_by_its_address(tmp_path: Path, short_path: str) -> None:
    """As the README says: `ray start`, then `--address`; and a cluster that is not there is one line."""
    _, path = campaign_file(tmp_path)
    python, _, code, *words = longtail("run", path, "--runner", "ray", "-s")
    run = f'{python} -c "{code}" {" ".join(words)} {tmp_path}'
    (tmp_path / "code").mkdir()
    script = f"""
export PATH="$(dirname {python}):$PATH"
export RAY_AUTH_MODE=token
(umask 077; ray get-auth-token --generate > {tmp_path}/ray.log 2>&1)
ray start --head --port 6399 --num-cpus 2 --include-dashboard false --temp-dir {short_path} \
    --object-store-memory 100000000 > {tmp_path}/ray.log 2>&1 || cat {tmp_path}/ray.log
{run}/first --address 127.0.0.1:6399 --working-dir {tmp_path}/code
echo first $?
{run}/second --address 127.0.0.1:6398
echo second $?
"""
    _, output = finish(start(["/bin/sh", "-c", script], tmp_path))
    assert "6 of 6 runs" in output
    assert "first 0" in output
    assert "error: no Ray cluster at '127.0.0.1:6398'" in output
    assert "second 1" in output
    assert "Traceback" not in output


def test_a_frozen_worker_does_not_hold_up_the_end(undisturbed: Callable[[int], Path], tmp_path: Path) -> None:
    """Ray does not notice a process that stands still; the shards that it holds are trained by another."""
    (tmp_path / "campaign.yaml").write_text(dump_campaign(busy_campaign()))
    store = tmp_path / "s"
    command = longtail("run", tmp_path / "campaign.yaml", "-s", store, "--runner", "ray", "--workers", 2)
    process = start([*command, "--shard-size", "1"], tmp_path)
    assert wait_until(lambda: committed(store) >= 20, process)
    kill(actors_of(process)[0], signal.SIGSTOP)
    code, output = finish(process)
    assert code == 0, output
    assert f"{BUSY_RUNS} of {BUSY_RUNS} runs" in output
    assert contents(store) == contents(undisturbed(1))


def test_nodes_join_leave_and_die(tmp_path: Path) -> None:
    code, output = finish(start([sys.executable, "-m", "tests.moving_cluster", str(tmp_path / "s")], tmp_path))
    assert code == 0, output
    steps = [
        "two workers on the node that joined",
        "a third on the next node",
        "nodes are told by name",
        "its workers left the node that ends soon",
        "another took over",
        "a node died",
    ]
    assert [line for line in output.splitlines() if line.endswith(": True")] == [f"{step}: True" for step in steps]


@pytest.mark.skipif(not permitted(), reason="needs a network of its own")
def test_a_lost_head_ends_the_driver_with_one_line(tmp_path: Path) -> None:
    """Not after Ray's minute, in which its calls cannot be interrupted, and not with Ray's words."""
    code, output = finish(start([sys.executable, "-m", "tests.lost_head", str(tmp_path / "s")], tmp_path))
    assert code == 0, output
    assert output.splitlines()[-3:] == [
        "begun True",
        "error: the Ray cluster's head at 127.0.0.1:6399 does not answer: [Errno 111] Connection refused",
        "exit 1",
    ]
