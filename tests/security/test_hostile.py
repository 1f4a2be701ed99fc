"""Hostile campaigns and stores, by every command that takes one: no code runs, nothing is sent, memory stays small."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.isolation import ROOT
from tests.hostile_files import NAMED

_MAX_MEGABYTES = 2048


@pytest.mark.slow
def test_hostile_campaigns_and_stores(tmp_path: Path) -> None:
    """Campaigns by `plan`, `run` and `tune`, an import, stores by the commands that read one, all in one process.

    So its peak is at least that of each.
    """
    cache = str(tmp_path / "cache")
    own = {"LONGTAIL_CACHE": cache, "MPLCONFIGDIR": cache, "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    own |= {"NUMBA_CACHE_DIR": cache, "PYTHONDONTWRITEBYTECODE": "1"}  # what Python and Numba keep is no finding
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile", str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **own},
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["seen"], found["changed"], found["called"], found["downloaded"]) == ([], [], False, False)
    assert {label: wrong for label, (_, _, wrong) in found["ended"].items() if wrong} == {}
    peaks = found["peaks"]
    assert max(peaks.values()) < _MAX_MEGABYTES, {label: size for label, size in peaks.items() if size > 1500}
    ended = {label: (code, output) for label, (code, output, _) in found["ended"].items()}
    campaigns = [label for label in ended if label.startswith("plan ")]
    assert len(campaigns) >= 50 and len(found["stores"]) >= 15
    trained = [label for label, (code, _) in ended.items() if label.startswith("run ") and code == 0]
    assert trained == ["run bomb"]  # within bounds
    for number, name in enumerate(NAMED):
        code, output = ended[f"plan {'model' if number % 2 else 'dataset'}-{name}"]
        assert code == 2 and ("a campaign file cannot call" in output or "lets campaign files call" in output), output
    for label, told in {
        "density -o own": "mine:own: is named by the store, and not called; --trust-code",
        "density -o own-model": "mine:own: is named by the store, and not called; --trust-code",
        "density -o wide": "parameters, got 4,299,948,042",
        "verify --repair linked": "is a link that leads out of the store: nothing is written there",
        "run attention": "MB of memory, at most 1,280 MB are allowed on a CPU",
        "run batches": "MB of memory, at most 1,280 MB are allowed on a CPU",
        "plan texts": "must hold texts of at most 1,000 bytes",
        "plan rows": "claims 20,000,000 rows, at most 16,777,216 are read",
        "plan idx": "has 500,000,000 examples",
        "plan file:pipe": "must be a file, or a pipe as /dev/stdin, got a named pipe",
        "plan file:/dev/zero": "must be a file, or a pipe as /dev/stdin, got a device",
    }.items():
        assert told in ended[label][1], (label, ended[label])
