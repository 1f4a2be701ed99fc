"""Files of `orchestrator/report/page/` that a page contains whole: its scripts, in their order, and its styles."""

from pathlib import Path

SCRIPTS = (
    *("data.js", "scores.js", "address.js", "filters.js", "charts.js", "detail.js"),
    *("selection.js", "list.js", "plots.js", "explorer.js"),
)
"""One program: a file uses what those before it define."""
STYLES = ("report.css", "explorer.css")

_FOLDER = Path(__file__).parent / "page"


def scripts() -> str:
    """The explorer's program."""
    return _joined(SCRIPTS)


def styles() -> str:
    """The page's style sheet."""
    return _joined(STYLES)


def _joined(names: tuple[str, ...]) -> str:
    return "".join((_FOLDER / name).read_text(encoding="utf-8") for name in names)
