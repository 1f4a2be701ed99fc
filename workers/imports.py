"""Functions that users name in a campaign file as `package.module:function`."""

import difflib
import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

from workers.errors import LongtailError


def load_function(path: str, error: type[LongtailError]) -> Callable[..., Any]:
    """The function that `package.module:function` names; the module is found as Python's `import` finds it.

    Raises `error` where module or function is missing, or the function is not callable. What the module itself raises
    while it is imported passes through.
    """
    module_name, _, name = path.partition(":")
    if not module_name or not name:
        raise error(f"{path!r}: must be package.module:function")
    module = _import(module_name, path, error)
    try:
        function = getattr(module, name)
    except AttributeError as missing:
        raise error(f"{path}: {module_name} has no {name}{_hint(name, module)}") from missing
    if not callable(function):
        raise error(f"{path}: must be a function, got {type(function).__name__}")
    return function  # type: ignore[no-any-return]


def _import(module_name: str, path: str, error: type[LongtailError]) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as missing:
        name = missing.name or ""
        if module_name != name and not module_name.startswith(f"{name}."):
            raise  # the user's module was found, but not what it imports
        raise error(f"{path}: no module named {name}; install it or put its folder on PYTHONPATH") from missing


def _hint(name: str, module: ModuleType) -> str:
    names = [each for each, value in vars(module).items() if callable(value) and not each.startswith("_")]
    close = difflib.get_close_matches(name, names, n=1)
    return f" (did you mean {close[0]}?)" if close else ""
