"""The distributions hold what they need, their metadata say what is true, and the Makefile takes blanks in paths."""

import os
import shlex
import subprocess
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import yaml

from benchmarks.isolation import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOT_IN_SDIST = {".ci", ".pre-commit-config.yaml"}
"""What only a clone needs."""


def tracked() -> list[str]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("this is no git clone, so nothing says which files are its own")
    return [name for name in done.stdout.splitlines() if name.partition("/")[0] not in NOT_IN_SDIST]


@pytest.mark.slow
def test_the_sdist_holds_every_file_of_a_clone(tmp_path: Path) -> None:
    builder = pytest.importorskip("hatchling.builders.sdist", reason="needs the PyPI package hatchling")
    (built,) = builder.SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(built) as file:
        held = {name.partition("/")[2] for name in file.getnames()}
    assert set(tracked()) - held == set()


def test_the_wheel_holds_the_packages_their_files_and_true_metadata(tmp_path: Path) -> None:
    builder = pytest.importorskip("hatchling.builders.wheel", reason="needs the PyPI package hatchling")
    (built,) = builder.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    packages = ("longtail", "orchestrator", "analysis", "workers")
    with zipfile.ZipFile(built) as file:
        held = {name for name in file.namelist() if ".dist-info/" not in name}
        (place,) = (name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(file.read(place).decode())
    assert held == {name for name in tracked() if name.partition("/")[0] in packages}
    assert {f"{name}/py.typed" for name in packages} | {"orchestrator/report/page/report.html.j2"} <= held
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE"]
    needed = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert sorted(needed) == sorted(PROJECT["dependencies"])
    assert {"train", "ray", "dev"} == set(metadata.get_all("Provides-Extra", []))
    assert metadata.get_all("Project-URL") is None, "there are none yet"


def test_versions_licences_and_pythons_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in PROJECT["authors"]]
    assert f"SPDX-License-Identifier: {PROJECT['license']}" in (ROOT / "LICENSE").read_text()
    named = [
        line.rpartition(" ")[2]
        for line in PROJECT["classifiers"]
        if line.startswith("Programming Language :: Python :: 3.")
    ]
    assert named == ["3.11", "3.12", "3.13"]
    assert PROJECT["requires-python"] == ">=3.11.5,<3.14"
    for page in ("README.md", "docs/quickstart.md"):
        assert "Python 3.11.5 to 3.13" in (ROOT / page).read_text()


@pytest.mark.parametrize(
    "target", ["install", "demo", "check", "test", "lint", "format", "docs", "docs-serve", "clean"]
)
def test_the_makefile_takes_blanks_in_the_environments_path(target: str) -> None:
    words = ["make", "--dry-run", "--no-print-directory", "VENV=a b/.venv", "PYTHON=c d/python", target]
    recipe = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    used = {word for line in recipe for word in shlex.split(line)}
    assert not {"a", "c", "b/.venv", "d/python"} & used and not {word for word in used if word.startswith("b/.venv")}
    assert any(word.startswith("a b/.venv") for word in used)


def test_make_runs_what_is_in_an_environment_with_blanks(tmp_path: Path) -> None:
    """And does not make it anew: its stamp is found."""
    environment = tmp_path / "a b c" / ".venv"
    (environment / "bin").mkdir(parents=True)
    command = environment / "bin" / "longtail"
    command.write_text('#!/bin/sh\necho "called: $*"\n')
    command.chmod(0o755)
    (environment / "installed").touch()
    words = ["make", "--silent", f"VENV={environment}", "PYTHON=false", "demo"]
    done = subprocess.run(words, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "called: demo\n"), done.stderr
