"""Map of the packages, generated: `python docs/package_map.py` writes it into docs/design.md."""

import ast
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "design.md"
TOP_LEVEL = ("orchestrator", "analysis", "workers")
START, END = "<!-- package map: written by docs/package_map.py -->\n", "<!-- end of the package map -->"


class Package(NamedTuple):
    """One row of the map: a package below a top-level one, or a module beside those."""

    name: str
    purpose: str
    files: int
    lines: int
    imports: list[str]


def packages() -> list[Package]:
    """Every entry of the three top-level packages, with the entries that it imports."""
    return [_package(entry) for top in TOP_LEVEL for entry in sorted((ROOT / top).iterdir()) if _is_entry(entry)]


def map_table() -> str:
    """The map as a Markdown table."""
    rows = [
        f"| `{each.name}` | {each.purpose} | {each.files} | {_rounded(each.lines)} | {', '.join(each.imports) or '-'} |"
        for each in packages()
    ]
    header = ["| package | purpose | files | lines | imports |", "| --- | --- | --: | --: | --- |"]
    return "\n".join([*header, *rows]) + "\n"


def _rounded(lines: int) -> str:
    """To the next 100, so that the page does not change with every line of code."""
    return f"{-(-lines // 100) * 100:,}"


def page_with_map(text: str) -> str:
    """The page's text with the map of now between its two comments."""
    before, rest = text.split(START)
    return before + START + map_table() + END + rest.split(END)[1]


def _is_entry(path: Path) -> bool:
    return (path / "__init__.py").is_file() or (path.suffix == ".py" and path.stem != "__init__")


def _package(entry: Path) -> Package:
    files = sorted(entry.rglob("*.py")) if entry.is_dir() else [entry]
    texts = [file.read_text() for file in files]
    name = _dotted(entry)
    imported = {_entry_of(module) for text in texts for module in _imported_modules(text)}
    first = ast.get_docstring(ast.parse((entry / "__init__.py" if entry.is_dir() else entry).read_text())) or ""
    return Package(
        name=name,
        purpose=" ".join(first.split("\n\n")[0].split()).rstrip("."),
        files=len(files),
        lines=sum(len(text.splitlines()) for text in texts),
        imports=sorted(imported - {name, ""}),
    )


def _dotted(entry: Path) -> str:
    return ".".join(entry.relative_to(ROOT).with_suffix("").parts)


def _entry_of(module: str) -> str:
    """The row of the map that a module belongs to, or its top-level package; nothing for modules of other projects."""
    parts = module.split(".")
    if parts[0] not in TOP_LEVEL:
        return ""
    entry = ROOT.joinpath(*parts[:2])
    return ".".join(parts[:2]) if entry.is_dir() or entry.with_suffix(".py").is_file() else parts[0]


def _imported_modules(text: str) -> list[str]:
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom) and node.module]
    names = [(node.module or "", alias.name) for node in nodes for alias in node.names]
    return [f"{module}.{name}" if module in TOP_LEVEL else module for module, name in names]


if __name__ == "__main__":
    PAGE.write_text(page_with_map(PAGE.read_text()))
