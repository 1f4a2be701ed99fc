"""Start-up of `run --runner ray` on this machine: until all workers are ready, and until the first shard is committed.

    python -m benchmarks.ray_start
    python -m benchmarks.ray_start --workers 2 --repeats 3 --beside ../tree-of-another-commit

Trains the preset digits (`--runs` of its runs) with a Ray of its own for each repeat, in namespaces of its own where
these are permitted. Seconds of wall time from the start of the process, imports included. With `--beside` the code of
another working tree takes turns with this one.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from benchmarks.isolation import ROOT, isolated

_MOMENTS = ("workers ready", "first shard", "all shards")

_CHILD = """
import json, sys, time
from orchestrator.campaigns.run import run_campaign
from workers.campaign.yaml_io import read_campaign

campaign, store, workers, runs, started = sys.argv[1:]
seen = {}

def observe(progress):
    done = (progress.workers >= int(workers), progress.trained > 0, progress.trained == progress.total)
    for moment, there in zip(("workers ready", "first shard", "all shards"), done):
        if there:
            seen.setdefault(moment, time.time() - float(started))

options = {"runner": "ray", "workers": int(workers), "gpus_per_worker": 0.0, "repetitions": int(runs)}
run_campaign(read_campaign(campaign), store, on_progress=observe, **options)
print(json.dumps(seen))
"""
"""Uses names that both trees have."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=int, default=248, help="of the campaign (default: 248, eight shards)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--beside", type=Path, help="working tree of another commit")
    options = parser.parse_args()
    trees = {"this tree": ROOT, **({"beside": options.beside.resolve()} if options.beside else {})}
    seconds: dict[str, list[dict[str, float]]] = {name: [] for name in trees}
    for number in range(options.repeats):
        for name in list(trees)[:: -1 if number % 2 else 1]:
            seconds[name].append(_measure(trees[name], options.workers, options.runs))
            print(f"{name}: {seconds[name][-1]}", flush=True)
    Console().print(_table(seconds))


def _measure(tree: Path, workers: int, runs: int) -> dict[str, float]:
    """Seconds until each moment, of one campaign with the code of a tree. Raises SystemExit where it fails."""
    # A short name: Ray's sockets lie in there, and may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="lt-") as folder:
        environment = {**os.environ, "HOME": folder, "PYTHONPATH": str(tree)}
        file = Path(folder) / "campaign.yaml"
        file.write_text((tree / "orchestrator" / "presets" / "digits.yaml").read_text(encoding="utf-8"))
        words = [str(file), str(Path(folder) / "store"), str(workers), str(runs), str(time.time())]
        command = isolated([sys.executable, "-c", _CHILD, *words])
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{tree}: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _table(seconds: dict[str, list[dict[str, float]]]) -> Table:
    """Median, lowest and highest seconds of each moment, and the median ratio of the pairs."""
    table = Table("moment", "code", title="Seconds from the start of the command")
    for heading in ("median", "lowest", "highest", "this / beside"):
        table.add_column(heading, justify="right")
    for moment in _MOMENTS:
        for name, repeats in seconds.items():
            values = [repeat[moment] for repeat in repeats]
            ratio = _ratio(seconds, moment) if name == "beside" else ""
            table.add_row(moment, name, *(f"{value(values):.2f}" for value in (median, min, max)), ratio)
    return table


def _ratio(seconds: dict[str, list[dict[str, float]]], moment: str) -> str:
    pairs = zip(*seconds.values(), strict=True)
    return f"{median(ours[moment] / other[moment] for ours, other in pairs):.2f}"


if __name__ == "__main__":
    main()
