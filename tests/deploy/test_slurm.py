"""The Slurm script: read by bash, shellcheck and sbatch, and run as it stands, with Slurm's own commands replaced."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.isolation import descendants, finish, kill, permitted, start, wait_until
from tests.conftest import small_campaign
from tests.manifests import DEPLOY
from workers.campaign.yaml_io import dump_campaign

SCRIPT = DEPLOY / "slurm.sbatch"
BIN = Path(sys.executable).parent
SCONTROL = "exit 0"


def command(
    folder: Path, job: str, *words: object, task: int = 0, first: int = 0, script: Path = SCRIPT, **replaced: str
) -> list[str]:
    """The script as one task of an array on this machine; `replaced` are commands put in the place of real ones."""
    (folder / "bin").mkdir(exist_ok=True)
    for name, text in replaced.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / "bin" / name).chmod(0o755)
    variables = {"SLURM_JOB_ID": f"{job}{task}", "SLURM_ARRAY_JOB_ID": job, "SLURM_ARRAY_TASK_ID": str(task)}
    variables |= {
        "SLURM_ARRAY_TASK_MIN": str(first),
        "SLURMD_NODENAME": "127.0.0.1",
    }
    variables |= {"SLURM_SUBMIT_DIR": str(folder), "SLURM_TMPDIR": str(folder)}
    variables["PATH"] = f"{folder / 'bin'}:{BIN}:{os.environ['PATH']}"
    given = [f"{name}={value}" for name, value in variables.items()]
    return ["/usr/bin/env", *given, "/bin/bash", str(script), *(str(word) for word in words)]


@pytest.mark.slow
def test_bash_and_shellcheck_are_content() -> None:
    for check in (["/bin/bash", "-n"], [str(BIN / "shellcheck")]):
        done = subprocess.run([*check, SCRIPT], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
def test_sbatch_knows_its_options(tmp_path: Path) -> None:
    """It reads them all before it looks for a controller, which there is not."""
    sbatch = shutil.which("sbatch")
    if sbatch is None:
        pytest.skip("sbatch is not installed")
    lines = ["ClusterName=x", "SlurmctldHost=localhost", "AuthType=auth/none", "GresTypes=gpu", "MessageTimeout=2"]
    (tmp_path / "slurm.conf").write_text("\n".join(lines) + "\n")
    (tmp_path / "bad.sbatch").write_text(SCRIPT.read_text().replace("--requeue", "--requeued"))
    said = {}
    for script in (SCRIPT, tmp_path / "bad.sbatch"):
        environment = {**os.environ, "SLURM_CONF": str(tmp_path / "slurm.conf")}
        words = [sbatch, "--test-only", str(script), "campaign.yaml", "store"]
        said[script] = subprocess.run(words, env=environment, capture_output=True, text=True, check=False).stderr
    assert said[SCRIPT].strip() == "allocation failure: Unable to contact slurm controller (connect failure)"
    assert "unrecognized option '--requeued'" in said[tmp_path / "bad.sbatch"]


@pytest.mark.ray
def test_a_campaign_on_two_nodes(tmp_path: Path) -> None:
    """With the real `ray` and `longtail`; what it leaves behind, and who can read its files.

    A task waits for the head, joins it, and ends when it does; one that starts after the end does nothing.
    """
    if not permitted():
        pytest.skip("namespaces are not permitted here: the head's port is everybody's")
    (tmp_path / "campaign.yaml").write_text(dump_campaign(small_campaign()))
    job, seen = f"lt{os.getpid()}", tmp_path / "seen"
    look = f"stat --format %a /tmp/longtail-{job}0 {tmp_path}/longtail-cache-{job}0 $HOME/.ray/auth_token > {seen}"
    nodes = f"{sys.executable} -m benchmarks.chaos.nodes 127.0.0.1:6379 alive 2; echo two nodes: $?"
    longtail = f'{look}; {nodes}; echo "cache: $LONGTAIL_CACHE"; exec {BIN}/longtail "$@"'
    words = (tmp_path / "campaign.yaml", tmp_path / "store", "--gpus-per-worker", "0")
    worker, head, late = (
        shlex.join(command(tmp_path, job, *words, task=task, scontrol=SCONTROL, longtail=longtail))
        for task in (1, 0, 2)
    )
    script = f"{worker} & sleep 1; {head}; echo head: $?; wait; echo worker: $?; {late}; echo late: $?"
    code, output = finish(start(["/bin/bash", "-c", script], tmp_path), 900)
    assert code == 0, output
    told = [line for line in output.splitlines() if line.split(":")[0] in ("two nodes", "head", "worker", "late")]
    assert told == ["two nodes: 0", "head: 0", "worker: 0", "late: 0"], output
    assert "6 of 6 runs" in output
    assert f"cache: {tmp_path}/longtail-cache-{job}0" in output, "the cache is not on the node's own disk"
    assert seen.read_text().split() == ["700", "700", "600"]
    assert (tmp_path / ".ray" / "auth_token").read_text() not in output
    assert (tmp_path / f"longtail-{job}.head").read_text() == "ended\n"
    assert not list(Path("/tmp").glob(f"longtail-{job}*"))  # noqa: S108 - where the script has Ray's files
    assert not list(tmp_path.glob("longtail-cache-*"))


@pytest.mark.slow
def test_back_into_the_queue_before_the_time_limit(tmp_path: Path) -> None:
    """Slurm's warning reaches the script while the driver runs on; then its exit code is the driver's.

    The head is the array's first task, whatever its number (`--array 3-8`).
    """
    job, started, requeued = f"lt{os.getpid()}", tmp_path / "started", tmp_path / "requeued"
    driver = f"touch {started}; until [ -e {requeued} ]; do sleep 0.05; done; exit 7"
    scontrol = f'[ "$1" = requeue ] && echo "$2" > {requeued}; exit 0'
    listen = "import socket, signal; s = socket.create_server(('127.0.0.1', 6379)); signal.pause()"
    ray = f'[ "$1" = start ] && exec {sys.executable} -c "{listen}"; mkdir -p $HOME/.ray; touch $HOME/.ray/auth_token'
    parts: dict[str, Any] = {"longtail": driver, "scontrol": scontrol, "ray": ray}
    words = command(tmp_path, job, "campaign.yaml", "store", task=3, first=3, **parts)
    process = start(words, tmp_path)
    try:
        assert wait_until(started.exists, process)
        script = next(pid for pid, title in descendants(process.pid) if title.startswith(f"/bin/bash {SCRIPT}"))
        kill(script, signal.SIGUSR1)
        code, output = finish(process, 30)
    finally:
        requeued.touch()
    assert (code, requeued.read_text().strip(), output) == (7, f"{job}3", "time is up: requeued\n")


@pytest.mark.slow
def test_a_folder_that_another_has_taken_is_refused(tmp_path: Path) -> None:
    job = f"lt{os.getpid()}"
    (tmp_path / "elsewhere").mkdir()
    taken = Path(f"/tmp/longtail-{job}0")  # noqa: S108 - where the script has Ray's files
    taken.symlink_to(tmp_path / "elsewhere")
    try:
        words = command(tmp_path, job, "campaign.yaml", "store", ray="exit 0", longtail=f"touch {tmp_path}/ran")
        done = subprocess.run(words, capture_output=True, check=False)
    finally:
        taken.unlink()
    assert done.returncode == 1
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("queue", "code", "told"),
    [
        ("1 2", 1, "task 0, the head, is no longer in the queue: ended"),
        ("0 1 2", 0, "no head for ten minutes: requeued"),
        ("", 0, "no head for ten minutes: requeued"),  # the controller does not answer
    ],
)
def test_a_task_without_a_head_goes_back_into_the_queue_only_while_there_may_be_one(
    queue: str, code: int, told: str, tmp_path: Path
) -> None:
    hasty = tmp_path / "hasty.sbatch"
    hasty.write_text(SCRIPT.read_text().replace("-gt 600", "-ge 0"))
    parts: dict[str, Any] = {
        "squeue": f"printf '%s\\n' {queue}" if queue else "exit 1",
        "scontrol": f"touch {tmp_path}/requeued",
    }
    words = command(tmp_path, f"lt{os.getpid()}", "campaign.yaml", "store", task=2, script=hasty, **parts)
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (code, told, "")
    assert (tmp_path / "requeued").exists() == (code == 0)
