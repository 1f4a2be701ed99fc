"""What needs no extra works without torch and Ray; what needs one says in one line which."""

import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pytest

from benchmarks.isolation import ROOT
from tests.synthetic import make_stores, random_runs
from workers.common.extras import EXTRAS, missing_extras_explained
from workers.errors import MissingPackageError

PACKAGES = [package for packages in EXTRAS.values() for package in packages]

# Its first argument: packages that are not there. The others: commands, whose [exit code, last line] is printed.
WITHOUT = """
import contextlib, io, json, sys
missing, *commands = map(json.loads, sys.argv[1:])

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
import longtail
from orchestrator.cli.app import app
from orchestrator.cli.exit_codes import exit_code_of

store = longtail.open_store("s")
assert len(store.memorization()) == 20 and len(store.cscore()) == 20
assert "<table" in store.influence(top=2)._repr_html_()
longtail.plot.memorization(store.memorization())
try:
    longtail.run_campaign
except ImportError as error:
    print(json.dumps(["run_campaign", str(error)]))
for command in commands:
    sys.argv = ["longtail", *command]
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
        code = exit_code_of(app)
    print(json.dumps([code, told.getvalue().splitlines()[-1]]))
"""

READING = [
    "status s",
    "estimate s",
    "influence s",
    "report s -o r.html",
    "profiles s",
    "verify s",
    "init digits -o d.yaml",
]
NEEDING = {
    "run d.yaml --store n": "train",
    "run d.yaml --store n --runner ray": "ray",
    "plan d.yaml": "train",
    "tune d.yaml -o t.yaml": "train",
    "density s": "train",
    "replay s 0.7/1": "train",
    "submit d.yaml --store s3://b/s --address http://127.0.0.1:1": "ray",
    "influence s --runner ray": "ray",
}


@pytest.mark.slow
def test_reading_needs_neither_torch_nor_ray(tmp_path: Path) -> None:
    make_stores(tmp_path / "s", {0.7: random_runs(np.random.default_rng(0), 12, 20, 4)})
    commands = [json.dumps(command.split()) for command in [*READING, *NEEDING]]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, json.dumps(PACKAGES), *commands],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (name, message), *answers = map(json.loads, done.stdout.splitlines())
    assert message.endswith('is not installed: pip install "longtail[train]"'), name
    assert [code for code, _ in answers[: len(READING)]] == [0] * len(READING), answers
    for (command, extra), (code, line) in zip(NEEDING.items(), answers[len(READING) :], strict=True):
        assert code == 2, (command, line)
        assert line.startswith("error: ") and line.endswith(f'is not installed: pip install "longtail[{extra}]"'), line


def test_what_an_installed_package_raises_passes_through() -> None:
    for name in ("torch.nothing", "json", "torch", None):
        with pytest.raises(ModuleNotFoundError) as told, missing_extras_explained():
            raise ModuleNotFoundError("x", name=name)
        assert not isinstance(told.value, MissingPackageError)


def test_a_folder_of_the_same_name_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tensorboardX").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for name in [module for module in sys.modules if module.partition(".")[0] == "tensorboardX"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingPackageError, match=r'pip install "longtail\[train\]"'), missing_extras_explained():
        from tensorboardX import SummaryWriter  # noqa: F401


@pytest.mark.slow
def test_extras_are_those_of_pyproject() -> None:
    """Each extra's packages belong to distributions that it names, or that those bring; the base names none of them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    base = " ".join(project["dependencies"])
    of = packages_distributions()
    named = {package: of[package][0].lower() for package in PACKAGES}
    for package in EXTRAS["train"]:
        assert any(each.lower().startswith(named[package]) for each in project["optional-dependencies"]["train"])
    assert any(each.startswith("ray[default,tune]") for each in project["optional-dependencies"]["ray"])
    assert not [package for package, name in named.items() if name in base.lower()]
