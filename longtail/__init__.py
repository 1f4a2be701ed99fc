"""Longtail: which examples a model memorizes, which training examples matter to which others, which labels look wrong.

    import longtail

    store = longtail.open_store("demo-store")
    store.memorization()

The public names are those of `workers.errors`, `orchestrator` and `analysis`, and a few single ones. Their modules are
imported when a name is first used: torch and Ray take seconds.
"""

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis import *  # noqa: F403
    from orchestrator import *  # noqa: F403
    from workers.campaign.campaign import Campaign as Campaign
    from workers.datasets import Dataset as Dataset
    from workers.datasets import load_dataset as load_dataset
    from workers.errors import *  # noqa: F403

_SINGLE = {"Campaign": "workers.campaign.campaign", "Dataset": "workers.datasets", "load_dataset": "workers.datasets"}
"""Single public names, and the modules that have them."""

_WHOLE = ("workers.errors", "orchestrator", "analysis")
"""Modules of which every name in `__all__` is public; the quickest to import is asked first."""


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return [public for _, public in _names()]
    if not name.startswith("__"):
        for module, public in _names():
            if public == name:
                value = globals()[name] = getattr(import_module(module), name)
                return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *(public for _, public in _names())})


def _names() -> Iterator[tuple[str, str]]:
    """(module, name) of every public name; a module is imported when its turn comes."""
    for name, module in _SINGLE.items():
        yield module, name
    for module in _WHOLE:
        for name in import_module(module).__all__:
            yield module, name


def _check_not_hidden() -> None:
    """Raise ImportError where a file of the user's, such as analysis.py beside a script, hides a package of ours."""
    ours = Path(__file__).resolve().parents[1]
    for name in ("orchestrator", "analysis", "workers"):
        spec = find_spec(name)
        origin = Path(spec.origin).resolve() if spec is not None and spec.origin is not None else None
        if origin != ours / name / "__init__.py":
            place = origin or f"a folder {name} on the path"
            raise ImportError(f"{place} hides Longtail's package {name}: rename it or move it")


_check_not_hidden()
