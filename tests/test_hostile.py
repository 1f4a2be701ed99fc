"""Hostile campaigns and stores, by every command that takes one: no code runs, nothing is sent, memory stays small."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.isolation import ROOT


def test_hostile_campaigns_and_stores(tmp_path: Path) -> None:
    """64 campaigns by `plan` and `run`, 13 stores by the commands that read one: 200 calls in one process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LONGTAIL_CACHE": str(tmp_path / "cache"), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile", str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["seen"] == [] and not found["called"] and not found["downloaded"]
    assert {label: wrong for label, (_, _, wrong) in found["ended"].items() if wrong} == {}
    peak = max(found["peaks"].values())
    assert peak < 2048, {label: size for label, size in found["peaks"].items() if size > 1500}
    ended = {label: (code, output) for label, (code, output, _) in found["ended"].items()}
    assert len(ended) >= 150
    for label, (code, output) in ended.items():
        kind, name = label.split(" ")
        if kind in ("plan", "run") and name != "runs":
            assert code != 0, label
        if kind == "density" and name not in ("own-model",):
            assert code != 0, (label, output)
    assert "mine:own: is named by the store, and not called; --trust-code" in ended["report own"][1]
    assert "mine:own: is named by the store, and not called; --trust-code" in ended["density own-model"][1]
    assert "parameters, got 4,299,948,042" in ended["density wide"][1]
