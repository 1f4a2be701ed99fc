"""Peers given by path: the two scripts that are known, and any script that prints what it measured.

A script of the user's own is called with the work's name, and prints as its last line a JSON object with `models`
(their number), `seconds` (of training them), and optionally `accuracy`, `startup_seconds`, `precision`, `operations`.
"""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.measure import Measurement, PeerError
from benchmarks.workloads import Workload
from workers.errors import CampaignError

JAX, AIRBENCH = "jax", "airbench94"
"""Names of the scripts that are known: mnist.py of pluskid/structural-regularity, airbench94.py of KellerJordan."""


def parse_peers(words: list[str]) -> dict[str, Path]:
    """Of `NAME=PATH`. Raises CampaignError."""
    peers: dict[str, Path] = {}
    for word in words:
        name, _, path = word.partition("=")
        if not name or not path or not Path(path).is_file():
            raise CampaignError(f"--peer: must be NAME=PATH of a file, got {word!r}")
        peers[name] = Path(path).absolute()
    return peers


def measure_script(workload: Workload, name: str, script: Path, seconds: float) -> Measurement:
    """Run a script of the user's own. Raises PeerError."""
    command = [sys.executable, str(script), workload.name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise PeerError(f"the script took longer than {seconds:.0f} s") from error
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        raise PeerError(f"the script failed: {(done.stderr.strip().splitlines() or ['no output'])[-1]}")
    try:
        values = json.loads(lines[-1])
        return Measurement(
            work=workload.name,
            contestant=name,
            models=int(values["models"]),
            seconds=float(values["seconds"]),
            startup_seconds=float(values.get("startup_seconds", 0)),
            accuracy=values.get("accuracy"),
            accuracy_of=workload.accuracy,
            operations=values.get("operations"),
            precision=str(values.get("precision", "unknown")),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise PeerError(f"the script's last line is no JSON object with models and seconds: {error}") from error
