"""Modules of a user's that have the names of Longtail's packages."""

from pathlib import Path


def hide_packages(folder: Path) -> None:
    """Put modules into a folder that have the names of Longtail's packages, and that fail where they are imported."""
    for name in ("analysis.py", "orchestrator.py", "workers/__init__.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("raise RuntimeError('the module of the user')\n")
