"""The Slurm script: read by bash, shellcheck and sbatch, and run as it stands, with Slurm's own commands replaced."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import small_campaign
from tests.isolation import finish, permitted, start, wait_until
from tests.manifests import DEPLOY
from workers.campaign_file import dump_campaign

SCRIPT = DEPLOY / "slurm.sbatch"
BIN = Path(sys.executable).parent
SRUN = 'while [ "${1#-}" != "$1" ]; do shift; done; exec "$@"'
SCONTROL = '[ "$1" = show ] && echo 127.0.0.1; exit 0'


def command(folder: Path, job: str, *words: object, **replaced: str) -> list[str]:
    """The script as one job step on this machine; `replaced` are commands put in the place of real ones."""
    (folder / "bin").mkdir()
    for name, script in replaced.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / "bin" / name).chmod(0o755)
    variables = {"SLURM_JOB_ID": job, "SLURM_JOB_NODELIST": "n1", "SLURM_JOB_NUM_NODES": "1"}
    variables["PATH"] = f"{folder / 'bin'}:{BIN}:{os.environ['PATH']}"
    given = [f"{name}={value}" for name, value in variables.items()]
    return ["/usr/bin/env", *given, "/bin/bash", str(SCRIPT), *(str(word) for word in words)]


def test_bash_and_shellcheck_are_content() -> None:
    for check in (["/bin/bash", "-n"], [str(BIN / "shellcheck")]):
        done = subprocess.run([*check, SCRIPT], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


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


def test_a_campaign_on_one_node(tmp_path: Path) -> None:
    """The real `ray symmetric-run`. It ends with `ray stop`, which finds every Ray process that it can see."""
    if not permitted():
        pytest.skip("namespaces are not permitted here: `ray stop` would end other people's clusters")
    (tmp_path / "campaign.yaml").write_text(dump_campaign(small_campaign()))
    job = f"lt{os.getpid()}"
    words = (tmp_path / "campaign.yaml", tmp_path / "store", "--gpus-per-worker", "0")
    try:
        process = start(command(tmp_path, job, *words, srun=SRUN, scontrol=SCONTROL), tmp_path)
        code, output = finish(process, 200)
    finally:
        shutil.rmtree(f"/tmp/ray-{job}", ignore_errors=True)  # noqa: S108 - where the script has Ray's files
    assert code == 0, output
    assert "6 of 6 runs" in output
    assert "--host=127.0.0.1 --port=8265" in output, "the dashboard listens elsewhere"
    token = (tmp_path / ".ray" / "auth_token").read_text()
    assert token not in output


def test_back_into_the_queue_before_the_time_limit(tmp_path: Path) -> None:
    """Slurm's warning reaches the script while the step runs on; then its exit code is the step's."""
    job, started, requeued = f"lt{os.getpid()}", tmp_path / "started", tmp_path / "requeued"
    step = f"touch {started}; until [ -e {requeued} ]; do sleep 0.05; done; exit 7"
    scontrol = f'{SCONTROL.removesuffix("; exit 0")}; [ "$1" = requeue ] && echo "$2" > {requeued}; exit 0'
    words = command(tmp_path, job, "campaign.yaml", "store", srun=step, scontrol=scontrol, ray="exit 0")
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert wait_until(started.exists, process)
        process.send_signal(signal.SIGUSR1)
        code, output = finish(process, 30)
    finally:
        requeued.touch()
        shutil.rmtree(f"/tmp/ray-{job}", ignore_errors=True)  # noqa: S108
    assert (code, requeued.read_text().strip(), output) == (7, job, "time is up: requeued\n")
