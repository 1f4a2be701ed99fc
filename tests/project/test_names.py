"""Public class names are unique over the packages; types of arrays and of progress callbacks are in one place."""

import ast
import functools
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("longtail", "orchestrator", "analysis", "workers")


@functools.cache
def sources() -> list[tuple[str, ast.Module]]:
    """The path of every module, from the root, and what it parses to."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return [(str(path.relative_to(ROOT)), ast.parse(path.read_text())) for path in paths]


def type_names(module: ast.Module) -> Iterator[str]:
    """Public classes, nested ones too, and module-level names written as classes are: aliases and type variables."""
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef):
            yield node.name
    for statement in module.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                if re.match("[A-Z].*[a-z]", name):
                    yield name


@pytest.mark.slow
def test_a_public_class_name_has_one_definition() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path, module in sources():
        for name in type_names(module):
            if not name.startswith("_"):
                places[name].append(path)
    assert len(places) > 200
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


@pytest.mark.slow
def test_no_class_is_imported_under_another_name() -> None:
    renamed = [
        f"{path}: {alias.name} as {alias.asname}"
        for path, module in sources()
        for node in ast.walk(module)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES
        for alias in node.names
        if re.match("[A-Z].*[a-z]", alias.name) and alias.asname not in (None, alias.name)
    ]
    assert renamed == []


@pytest.mark.slow
def test_types_of_arrays_and_of_progress_are_defined_in_one_place() -> None:
    homes = {
        "workers/common/arrays.py": r"npt\.NDArray\[[^|]*$",
        "workers/common/progress.py": r"Callable\[\[(str, )?int, int\]",
    }
    found = {
        (home, path)
        for home, pattern in homes.items()
        for path, module in sources()
        for node in module.body
        if isinstance(node, ast.Assign)
        and re.match(pattern, ast.unparse(node.value))
        and not ast.unparse(node.targets[0]).startswith("_")
    }
    assert {home for home, _ in found} == set(homes)
    assert [path for home, path in found if path != home] == []
