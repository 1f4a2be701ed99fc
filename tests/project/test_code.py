"""The house rules that tools check: format, lint, types, import contracts, and what must not be in the project."""

import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs import package_map

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [["ruff", "format", "--check", "."], ["ruff", "check", "."], ["mypy"], ["lint-imports"]],
    ids=lambda command: " ".join(command),
)
def test_tool_is_content(command: list[str]) -> None:
    done = subprocess.run([BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_modules_stay_small() -> None:
    packages = ("workers", "orchestrator", "analysis")
    lengths = {path: len(path.read_text().splitlines()) for name in packages for path in (ROOT / name).rglob("*.py")}
    assert {str(path): lines for path, lines in lengths.items() if lines > 300} == {}


def test_the_map_in_the_design_is_of_now() -> None:
    page = package_map.PAGE.read_text()
    assert package_map.page_with_map(page) == page, "run: python docs/package_map.py"


def test_packages_have_few_entries_and_import_in_one_direction() -> None:
    rows = {each.name: each.imports for each in package_map.packages()}
    for top in package_map.TOP_LEVEL:
        assert sum(name.startswith(f"{top}.") for name in rows) + 1 <= 10  # with __init__.py
    graphlib.TopologicalSorter(rows).prepare()  # raises CycleError


@pytest.mark.parametrize(
    "file", re.findall(r"`((?:orchestrator|analysis|workers)/[\w/.]+)`", package_map.PAGE.read_text())
)
def test_files_that_the_design_names_are_there(file: str) -> None:
    assert (ROOT / file).exists()
