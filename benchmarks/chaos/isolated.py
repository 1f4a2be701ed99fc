"""Runs a campaign's plan in separate namespaces, and returns its result."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.chaos import model
from benchmarks.chaos.campaign import Plan, Result
from benchmarks.chaos.history import Injection
from benchmarks.isolation import ROOT, isolated

# Process 1 of a namespace gets the orphans: a shell takes them, so that the campaign's own calls are not confused.
_FIRST = ["/bin/sh", "-c", '"$@"; exit $?', "sh"]


class ChaosError(RuntimeError):
    """A campaign whose harness itself failed."""


def run_plan(plan: Plan, keep: Path | None = None, seconds: float = 600) -> Result:
    """Start a cluster, let the plan happen, compare. `keep`: a folder for what a campaign with problems left.

    Raises ChaosError where the campaign could not be carried out at all.
    """
    # A short name: Ray's sockets lie in there, and may have 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="lt-"))
    try:
        (folder / "plan.json").write_text(json.dumps(asdict(plan)))
        (folder / "code").mkdir()
        shutil.copy(model.__file__, folder / "code" / f"{model.MODEL}.py")
        python_path = os.pathsep.join([str(ROOT), str(folder / "code"), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "HOME": str(folder), "COLUMNS": "200", "PYTHONPATH": python_path}
        command = [sys.executable, "-m", "benchmarks.chaos.campaign", str(folder / "plan.json")]
        with (folder / "harness.log").open("wb") as log:
            process = subprocess.Popen(
                isolated([*_FIRST, *command, str(folder / "result.json")]),
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired as error:
                raise ChaosError(f"campaign {plan.seed}: the harness was not done after {seconds:.0f} s") from error
            finally:
                process.kill()
        if not (folder / "result.json").exists():
            raise ChaosError(f"campaign {plan.seed}: {(folder / 'harness.log').read_text(errors='replace')[-4000:]}")
        result = _read(json.loads((folder / "result.json").read_text()))
        if result.problems and keep is not None:
            _keep(folder, keep / f"campaign-{plan.seed}")
        return result
    except ChaosError:
        if keep is not None:
            _keep(folder, keep / f"campaign-{plan.seed}")
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read(document: dict[str, Any]) -> Result:
    plan, injections = document.pop("plan"), document.pop("injections")
    result = Result(plan=Plan(**plan), injections=[Injection(**injection) for injection in injections], **document)
    faults = [(int(point), str(name)) for point, name in result.plan.faults]
    return replace(result, plan=replace(result.plan, faults=faults))


def _keep(folder: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("sockets", "disk", "*.sock*"), dirs_exist_ok=True)
