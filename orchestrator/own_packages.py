"""Imports Longtail's other packages before modules of the user on the path can hide them."""

import sys
from importlib import import_module
from pathlib import Path


def bind_packages() -> None:
    """Import `analysis` and `workers` from beside this package, whatever comes before it on the path.

    They import nothing themselves. What a process has imported under these names already stays.
    """
    root = str(Path(__file__).resolve().parents[1])
    sys.path.insert(0, root)
    try:
        for name in ("analysis", "workers"):
            import_module(name)
    finally:
        sys.path.remove(root)
