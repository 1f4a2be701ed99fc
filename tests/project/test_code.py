"""The house rules that `make lint` does not check: sizes, the map in the design, and the direction of imports."""

import ast
import graphlib
import re
from pathlib import Path

import pytest

from docs import package_map

ROOT = Path(__file__).parents[2]

MAX_LINES, MAX_BODY, MAX_PARAMETERS = 300, 40, 6
LONGER = {"influence"}
"""Functions that may have more lines: a command's checks of its options belong together."""
MORE_PARAMETERS = {
    # Keywords of a call in a notebook, each with a default.
    *("write_estimates", "forgetting_agreement", "influence", "influential_pairs"),
    *("discoveries", "datamodels"),
    # Arrays of a compiled loop.
    *("_apply", "_sgd_update", "_adamw_update"),
    # What a drawing is made of.
    *("_outline", "lines"),
}


@pytest.mark.slow
def test_modules_and_functions_stay_small() -> None:
    """Lines of a function's body without its docstring; parameters of all functions but commands, whose are options."""
    packages = ("longtail", "workers", "orchestrator", "analysis")
    files = {path: path.read_text() for name in packages for path in (ROOT / name).rglob("*.py")}
    assert {str(path): text for path, text in files.items() if len(text.splitlines()) > MAX_LINES} == {}
    long, wide = set(), set()
    for path, text in files.items():
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.FunctionDef):
                continue
            first = node.body[1] if ast.get_docstring(node) is not None and len(node.body) > 1 else node.body[0]
            if (node.end_lineno or 0) - first.lineno + 1 > MAX_BODY:
                long.add(node.name)
            names = [each.arg for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            is_command = "commands" in path.parts
            if not is_command and len([name for name in names if name not in ("self", "cls")]) > MAX_PARAMETERS:
                wide.add(node.name)
    assert (long, wide) == (LONGER, MORE_PARAMETERS)


@pytest.mark.slow
def test_the_map_in_the_design_is_of_now() -> None:
    page = package_map.PAGE.read_text()
    assert package_map.page_with_map(page) == page, "run: python docs/package_map.py"


@pytest.mark.slow
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
