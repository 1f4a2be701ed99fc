"""A two-node cluster, started by the commands of docs/cluster.md: drivers as jobs, one for each store, and nobody
without the token."""

import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.isolation import finish, longtail, start
from orchestrator.runners.ray.cluster import HEALTH_CHECKS
from orchestrator.runners.ray.job_package import driver_name
from tests.campaigns.test_run import runs_of
from tests.conftest import small_campaign
from tests.documentation import DOCS, blocks_of
from workers.campaign.yaml_io import dump_campaign

pytestmark = pytest.mark.ray

MODEL = """
import os, time
from torch import nn
from parts.width import WIDTH

def model(input_shape, num_classes, gate):
    while not os.path.exists(gate):
        time.sleep(0.05)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, WIDTH), nn.ReLU(), nn.Linear(WIDTH, num_classes))
"""

SESSION = r"""
export PATH="{bin}:$PATH"
umask 022
{mode}
longtail() {{ "{python}" -c "{code}" "$@"; }}
quiet() {{ "$@" > {home}/log 2>&1 || cat {home}/log; }}
submit() {{ {submit} --device cpu --working-dir {home}/code "$@"; }}
until_seen() {{ until grep -qs "$1" "$2"; do sleep 0.05; done; }}

{token}
echo "--- modes"
stat --format %a {home}/.ray {home}/.ray/auth_token
{private}
export TMPDIR={short}  # where mktemp makes folders
quiet {head} --num-cpus 1 --num-gpus 1 --object-store-memory 100000000 {health}
quiet {node} --num-cpus 1 --num-gpus 1 --object-store-memory 100000000
unset TMPDIR
stat --format %a {short}/*

echo "--- strangers"
RAY_AUTH_MODE=disabled submit; echo "exit $?"
RAY_AUTH_TOKEN=wrong submit; echo "exit $?"
HOME={short} submit; echo "exit $?"
RAY_AUTH_TOKEN=wrong longtail run {home}/plain.yaml --store {home}/no --runner ray --address 127.0.0.1:6379
echo "exit $?"

echo "--- two at a time"
submit > {home}/one 2>&1 & one=$!
submit > {home}/two 2>&1 & two=$!
wait $one; first=$?; wait $two; echo "exits $(($first + $?))"
cat {home}/one {home}/two
job=$(grep -oh 'longtail-[0-9a-f]*-1' {home}/one | head -1)

echo "--- stopped; the next is followed, and left alone"
quiet ray job stop --address http://127.0.0.1:8265 $job
submit --follow > {home}/followed 2>&1 & follower=$!
until_seen "Running entrypoint" {home}/followed
pkill -INT -P $follower; wait $follower; echo "exit $?"
tail -1 {home}/followed
touch {home}/gate
{status} --every 0.2 | tail -1

echo "--- ended; then another campaign"
quiet ray job logs --follow --address http://127.0.0.1:8265 "${{job%1}}2"
sed 's/batch_size: 256/batch_size: 255/' {home}/campaign.yaml > {home}/other && mv {home}/other {home}/campaign.yaml
submit --follow; echo "exit $?"

echo "--- secrets"
token=$(cat {home}/.ray/auth_token)
grep -rl "$token" {short}
ray job list --address http://127.0.0.1:8265 2>&1 | grep "$token"
find {short} -name left_out.txt
"""


PAGE = DOCS / "cluster.md"


def page_commands(home: Path) -> dict[str, str]:
    """The page's commands that are carried out here, by what they are for; places that it leaves open filled in."""
    starts = {
        "mode": "export RAY_AUTH_MODE=token",
        "token": "(umask 077; ray get-auth-token ",
        "private": "chmod 600 ~/.ray/auth_token",
        "head": "ray start --head ",
        "node": "ray start --address HEAD:6379",
        "submit": "longtail submit campaign.yaml --store /shared/mnist --address http://127.0.0.1:8265",
        "status": "longtail status /shared/mnist --watch",
    }
    ours = [block for block in blocks_of(PAGE) if block.note("executed by") == "tests/runners/test_jobs.py"]
    given = {command for block in ours for command, _ in block.commands()}
    found = {name: next(command for command in given if command.startswith(start)) for name, start in starts.items()}
    assert given == set(found.values())
    places = {"HEAD": "127.0.0.1", "/shared/mnist": f"{home}/store", "campaign.yaml": f"{home}/campaign.yaml"}
    for place, ours_is in places.items():
        found = {name: command.replace(place, ours_is) for name, command in found.items()}
    return found


@pytest.fixture
def short_path() -> Iterator[str]:
    """A folder whose name leaves room for Ray's sockets: they may have 107 characters."""
    with tempfile.TemporaryDirectory(prefix="lt-") as path:
        yield path


@pytest.mark.timeout(600)
def test_a_cluster_as_the_page_starts_it(tmp_path: Path, short_path: str) -> None:
    campaign = small_campaign(model={"name": "model:model", "options": {"gate": str(tmp_path / "gate")}})
    (tmp_path / "campaign.yaml").write_text(dump_campaign(campaign))
    (tmp_path / "plain.yaml").write_text(dump_campaign(small_campaign()))
    (tmp_path / "code" / "parts").mkdir(parents=True)
    (tmp_path / "code" / "model.py").write_text(MODEL)
    (tmp_path / "code" / "parts" / "width.py").write_text("WIDTH = 8")
    (tmp_path / "code" / ".gitignore").write_text("left_out.txt")
    (tmp_path / "code" / "left_out.txt").write_text("mine")
    python, _, code = longtail()
    health = f"--system-config '{json.dumps(HEALTH_CHECKS)}'"
    assert health in PAGE.read_text()
    places = {"bin": Path(sys.executable).parent, "home": tmp_path, "short": short_path}
    script = SESSION.format(**places, **page_commands(tmp_path), python=python, code=code, health=health)
    _, output = finish(start(["/bin/bash", "-c", script], tmp_path), 1200)
    assert "Traceback" not in output
    said = {title: lines.splitlines() for title, lines in re.findall(r"^--- (.*)\n((?:(?!--- ).*\n)*)", output, re.M)}
    assert said["modes"][:2] == ["700", "600"], output
    assert len(said["modes"]) >= 4, output
    assert set(said["modes"][2:]) == {"700"}, output
    dashboard = "error: the Ray cluster at 'http://127.0.0.1:8265'"
    assert [line for line in said["strangers"] if not line.startswith("data: ")] == [
        f"{dashboard} asks for its token, and none was sent: set RAY_AUTH_MODE=token",
        "exit 1",
        f"{dashboard} refuses this user's token (RAY_AUTH_TOKEN): it has another",
        "exit 1",
        f"{dashboard} asks for its token: copy its ~/.ray/auth_token to this user's home",
        "exit 1",
        "error: the Ray cluster at '127.0.0.1:6379' refuses this user's token (RAY_AUTH_TOKEN): it has another",
        "exit 1",
    ], output
    told = PAGE.read_text()
    for line in said["strangers"]:
        if line.startswith("error: "):
            assert f"`{line.removeprefix('error: ').replace('127.0.0.1:6379', 'HEAD:6379')}`" in told
    store = tmp_path / "store"
    job = driver_name(str(store))
    exits, *lines = said["two at a time"]
    assert exits == "exits 1", output
    assert f"{job}-1 trains into {store}" in lines
    assert [
        line for line in lines if re.match(rf"error: {job}-1 already trains into {store} \((pending|running)\)", line)
    ]
    assert said["stopped; the next is followed, and left alone"] == [
        "exit 130",
        f"no longer following; {job}-2 goes on",
        "6 of 6 runs, 0 failed, 0 diverged (0.2: 3/3, 0.6: 3/3)",
    ], output
    assert said["ended; then another campaign"][-2:] == [
        f"error: {store}: recipe.batch_size: the store has 256, the campaign has 255",
        "exit 2",
    ], output
    assert said["secrets"] == [], output
    assert len(runs_of(store)) == 6
