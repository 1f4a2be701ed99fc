"""Functions that users name in a campaign file as `package.module:function`.

A campaign file may come from anybody, and must not be able to call `os:system`, or a library's function that reads
pickles or downloads code. So a module must be the user's own: found outside of Python and of what is installed.
Installed packages are trusted by name, in the environment variable LONGTAIL_CODE (comma-separated).
"""

import difflib
import importlib
import importlib.util
import inspect
import os
import site
import sys
import sysconfig
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from workers.errors import LongtailError
from workers.suggestions import closest

TRUSTED = "LONGTAIL_CODE"
"""Environment variable: installed packages whose functions campaign files may name."""


def load_function(path: str, error: type[LongtailError]) -> Callable[..., Any]:
    """The function that `package.module:function` names; the module is found as Python's `import` finds it.

    Raises `error` where module or function is missing, not the user's own (see above) or not callable. What the module
    itself raises while it is imported passes through.
    """
    module_name, _, name = path.partition(":")
    if not module_name or not name:
        raise error(f"{path!r}: must be package.module:function")
    _check_own(module_name.partition(".")[0], path, error)
    module = _import(module_name, path, error)
    try:
        function = getattr(module, name)
    except AttributeError as missing:
        raise error(f"{path}: {module_name} has no {name}{_hint(name, module)}") from missing
    if not callable(function):
        raise error(f"{path}: must be a function, got {type(function).__name__}")
    if _home_of(function) in sys.stdlib_module_names:
        raise error(f"{path}: {name} is a function of Python itself, which a campaign file cannot call")
    return function  # type: ignore[no-any-return]


def call_function(path: str, error: type[LongtailError], *arguments: Any, **options: Any) -> Any:
    """What the function that `package.module:function` names returns for these arguments and options.

    Raises `error` like `load_function`, and where the function does not take the options or needs others. What it
    raises itself passes through.
    """
    function = load_function(path, error)
    mistake = _mistake(function, arguments, options)
    if mistake:
        raise error(f"{path}: {mistake}")
    return function(*arguments, **options)


def trusted_code() -> dict[str, str]:
    """The environment that a process on another machine needs to trust the same packages."""
    return {TRUSTED: os.environ[TRUSTED]} if TRUSTED in os.environ else {}


def _check_own(package: str, path: str, error: type[LongtailError]) -> None:
    """Raise `error` where a package is part of Python, or installed and not trusted. Imports nothing."""
    if package in sys.stdlib_module_names:
        raise error(f"{path}: {package} is part of Python itself, which a campaign file cannot call")
    if package in os.environ.get(TRUSTED, "").replace(" ", "").split(","):
        return
    spec = importlib.util.find_spec(package)
    places = [] if spec is None else [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.origin else ())]
    installed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), site.getusersitepackages()}
    if any(Path(place).is_relative_to(folder) for place in places for folder in installed):
        raise error(
            f"{path}: {package} is an installed package; {TRUSTED}={package} in the environment lets campaign files "
            "call it, else wrap what you need in a function of your own"
        )


def _mistake(function: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]) -> str | None:
    """Why a function cannot be called so, or None."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some written in C tell nothing
        return None
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    takes = {each.name: each for each in list(signature.parameters.values())[len(arguments) :] if each.kind in named}
    if not any(each.kind is inspect.Parameter.VAR_KEYWORD for each in signature.parameters.values()):
        for name in (each for each in options if each not in takes):
            close = closest(name, takes)
            meant = f" (did you mean {close}?)" if close else ""
            return f"options: must be {', '.join(takes) or 'left out'}, got {name!r}{meant}"
    missing = [name for name, each in takes.items() if each.default is each.empty and name not in options]
    if missing:
        return f"options: {', '.join(missing)} must be given"
    try:
        signature.bind(*arguments, **options)
    except TypeError as problem:
        return f"must take {len(arguments)} arguments and its options: {problem}"
    return None


def _home_of(function: Any) -> str:
    """The package in which a callable was defined."""
    while isinstance(function, partial):
        function = function.func
    return str(getattr(function, "__module__", None) or "builtins").partition(".")[0]


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
