"""Commands on one Ray cluster of this machine, one after the other; several tests look at what each said and left.

    python -m tests.one_cluster FOLDER HOST:PORT

Writes `ended.json` into the folder: {name: [exit code, what was said]}. A shard is given up after two workers that it
killed, not after five. A cluster takes longer to start than most commands to run, and so does a worker to import
PyTorch: commands that do not need more get one worker.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals

import yaml

from benchmarks.isolation import finish, longtail, start, wait_until
from orchestrator.runners import scheduler
from tests.command import call
from tests.conftest import small_campaign
from tests.influence.test_influence_command import planted
from tests.scraped_metrics import METRICS_PORT
from workers.campaign.yaml_io import dump_campaign

SEARCHED = {"recipe": {"epochs": 20, "batch_size": 64}, "subsets": {"ratios": [0.5], "repetitions": 3}}
CAMPAIGNS: dict[str, dict[str, object]] = {
    "plain": {},
    "interrupted": {"subsets": {"ratios": [0.5], "repetitions": 5000}},
    "ending": {"model": {"name": "user_code:ending_model", "options": {"kind": "exit"}}},
    "dying": {"model": {"name": "user_code:dying_model"}, "subsets": {"ratios": [0.5], "repetitions": 1}},
    "searched": SEARCHED,
    "stopped": {"recipe": {"epochs": 9, "batch_size": 64}},
}
_MODELS = {
    "searched": [{"name": "mlp", "hidden": [width]} for width in (16, 48)],
    "stopped": [{"name": "mlp", "hidden": [8]}, {"name": "user_code:raising_model"}],
}


def commands(folder: Path) -> dict[str, list[object]]:
    """The commands by name, without the cluster's address."""
    file = {name: folder / f"{name}.yaml" for name in CAMPAIGNS}
    one = ("--workers", 1)
    influence = ["influence", folder / "planted", "--runner", "ray", "--fdr", 0.05, "--memory-mb", 1]
    searched = ["tune", file["searched"], "--space", folder / "searched-space", "-o", folder / "searched-tuned.yaml"]
    stopped = ["tune", file["stopped"], "--space", folder / "stopped-space", "-o", folder / "stopped-tuned.yaml"]
    return {
        "plain": ["run", file["plain"], "-s", folder / "plain", "--working-dir", folder / "code"],
        "interrupted": ["run", file["interrupted"], "-s", folder / "interrupted", "--shard-size", 1, *one],
        "none": ["run", file["plain"], "-s", folder / "none", "--gpus-per-worker", 3],
        "ending": ["run", file["ending"], "-s", folder / "ending", *one],
        "dying": ["run", file["dying"], "-s", folder / "dying", *one],
        "influence": [*influence, "-o", folder / "pairs.parquet"],
        "searched": [*searched, "--no-early-stopping", "--fit", 0.96, "--repetitions", 2, "--trials", 6],
        "stopped": [*stopped, *one, "--trials", 12, "--fit", 1.0, "--repetitions", 2, "--max-epochs", 12],
    }


def write_files(folder: Path) -> None:
    """What the commands read."""
    for name, parts in CAMPAIGNS.items():
        (folder / f"{name}.yaml").write_text(dump_campaign(small_campaign(**parts)))
    for name, models in _MODELS.items():
        rates = {"recipe.optimizer.learning_rate": {"log_uniform": [0.01, 1.0]}}
        (folder / f"{name}-space").write_text(yaml.safe_dump({**rates, "model": {"choice": models}}))
    (folder / "code").mkdir()
    planted(folder / "planted")


def on_cluster(words: list[object], address: str) -> list[object]:
    """The command, on the cluster; its workers take no GPU where it does not ask for some."""
    cpus = [] if "--gpus-per-worker" in words else ["--gpus-per-worker", 0]
    return [*words, "--address", address, *([] if words[0] == "influence" else cpus)]


def strike(words: list[object], condition: Callable[[], bool], number: Signals) -> tuple[int, str]:
    """(exit code, what it said) of a command in a process of its own, which gets a signal once something is so."""
    driver = subprocess.Popen(longtail(*words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if not wait_until(condition, driver, 300):
        raise RuntimeError(f"it ended before it got a signal: {driver.communicate()[0]}")
    driver.send_signal(number)
    output, _ = driver.communicate(timeout=300)
    return driver.returncode, output


def two_trials_ended(results: Path) -> bool:
    return len(list((results / "trials").glob("[!_]*.json"))) >= 2 and (results / "trials.parquet").exists()


def run_cluster(folder: Path) -> None:
    """`ray start`, then the commands, with their files in a folder. Raises RuntimeError where that fails as a whole.

    The cluster has namespaces of its own where they are permitted. Its node has two CPUs and two pretended GPUs.
    """
    # Ray's sockets lie in a folder whose name leaves room for them: they may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="lt-") as short:
        script = f"""
export PATH="$(dirname {sys.executable}):$PATH"
export RAY_AUTH_MODE=token
(umask 077; ray get-auth-token --generate > {folder}/ray.log 2>&1)
ray start --head --port 6399 --num-cpus 2 --num-gpus 2 --include-dashboard false --temp-dir {short} \
    --include-log-monitor false --no-monitor --object-store-memory 100000000 --metrics-export-port {METRICS_PORT} \
    --system-config '{{"metrics_report_interval_ms": 1000}}' > {folder}/ray.log 2>&1 \
    || {{ cat {folder}/ray.log; exit 1; }}
{sys.executable} -m tests.one_cluster {folder} 127.0.0.1:6399 \
    && {sys.executable} -m tests.scraped_metrics 127.0.0.1:6399 > {folder}/metrics.txt
"""
        code, output = finish(start(["/bin/sh", "-c", script], folder), 1400)
    if code:
        raise RuntimeError(output)


def read_ended(folder: Path) -> dict[str, tuple[int, str]]:
    """{name of a command: (exit code, what it said)}."""
    ended = json.loads((folder / "ended.json").read_text())
    return {name: (code, said) for name, (code, said) in ended.items()}


def main(folder: Path, address: str) -> None:
    """Carries out the commands, on a cluster that is there."""
    scheduler.MAX_LOST = 2
    write_files(folder)
    words = {name: on_cluster(command, address) for name, command in commands(folder).items()}
    results, searched = folder / "interrupted" / "results", folder / "searched-tuned-search"
    ended = {"interrupted": strike(words.pop("interrupted"), lambda: any(results.glob("r*")), SIGTERM)}
    strike(words["searched"], lambda: two_trials_ended(searched), SIGKILL)
    shutil.copytree(searched, folder / "killed")
    for name, command in words.items():
        code, output, errors = call(*command)
        ended[name] = code, output + errors
    (folder / "ended.json").write_text(json.dumps(ended))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
