"""The C-score script of pluskid/structural-regularity, the user's own copy, in a Python that has JAX."""

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from benchmarks.measure import Measurement, PeerError
from benchmarks.workloads import Workload

NAME = "JAX script"
_CHILD = Path(__file__).with_name("jax_child.py")


def lacks_jax(python: str) -> bool:
    """Whether `import jax` fails in that Python. Raises OSError where it cannot be started."""
    return subprocess.run([python, "-c", "import jax"], capture_output=True, check=False).returncode != 0


def measure_jax(
    workload: Workload, script: Path, python: str, mnist_root: Path, device: str, repetitions: int, operations: float
) -> Measurement:
    """So many calls of the script's `subset_train` at each of the work's ratios, in one fresh process.

    The time is that inside the calls; the process's start, the data and a first, uncounted model are its start-up.
    Raises PeerError.
    """
    jobs = [f"{ratio}:{repetition + 1}" for ratio, repetition in workload.jobs(repetitions)]
    with tempfile.TemporaryDirectory(prefix="longtail-speed-") as folder:
        out = Path(folder) / "runs.json"
        words = ["--script", script.absolute(), "--mnist-root", mnist_root.absolute(), "--out", out]
        _call([python, str(_CHILD), *map(str, words), *jobs], folder, device)
        document = json.loads(out.read_text(encoding="utf-8"))
    runs = document["runs"]
    return Measurement(
        work=workload.name,
        contestant=NAME,
        models=len(runs),
        seconds=sum(run["seconds"] for run in runs),
        startup_seconds=document["startup_seconds"],
        # It evaluates no test examples.
        accuracy=mean(run["held_out_accuracy"] for run in runs) if workload.accuracy == "held out" else None,
        accuracy_of="held out",
        operations=operations,
        precision="float32" if document["backend"] == "cpu" else "tf32",
        details=document,
    )


def _call(command: Sequence[str], folder: str, device: str) -> None:
    environment = {**os.environ, **({"JAX_PLATFORMS": "cpu"} if device == "cpu" else {})}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise PeerError(f"the script failed: {lines[-1]}")
