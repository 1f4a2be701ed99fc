"""Loads functions that a campaign file names as `package.module:function`.

A campaign file may come from anybody, and must not be able to call `os:system`, a library's function that reads pickles
or downloads code, or one of Longtail's own. So module and function must be the user's (see `code_origin`). Installed
packages are trusted by name, in the environment variable LONGTAIL_CODE (comma-separated).
"""

import importlib
import importlib.util
import inspect
import os
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

from workers.campaign.suggest import closest
from workers.errors import LongtailError
from workers.user_code.code_origin import TRUSTED, definitions, refused_module_name, refused_origin
from workers.user_code.process_state import preserved_search_path


def load_function(path: str, error: type[LongtailError]) -> Callable[..., Any]:
    """The function that `package.module:function` names; the module is found as Python's `import` finds it.

    Raises `error` where module or function is missing, not the user's own (see above) or not callable; a module is
    judged before it is imported. What the module itself raises while it is imported passes through.
    """
    module_name, _, name = path.partition(":")
    if not name or not all(module_name.split(".")):
        raise error(f"{path!r}: must be package.module:function")
    module = _import(module_name, path, error)
    try:
        function = getattr(module, name)
    except AttributeError as missing:
        raise error(f"{path}: {module_name} has no {name}{_hint(name, module)}") from missing
    if not callable(function):
        raise error(f"{path}: must be a function, got {type(function).__name__}")
    for home, place in definitions(function):
        refusal = refused_origin(home, place)
        if refusal:
            raise error(f"{path}: {name} comes from {home}: {home.partition('.')[0]} {refusal}")
    return function  # type: ignore[no-any-return]


def call_function(path: str, error: type[LongtailError], /, *arguments: Any, **options: Any) -> Any:
    """What the function that `package.module:function` names returns for these arguments and options.

    Raises `error` like `load_function`, and where the function does not take the options or needs others. What it
    raises itself passes through.
    """
    function = load_function(path, error)
    mistake = _mistake(function, arguments, options)
    if mistake:
        raise error(f"{path}: {mistake}")
    return function(*arguments, **options)


def refuse_call(path: str, error: type[LongtailError]) -> NoReturn:
    """Raise `error` about a function that a store names, where the store is only to be read."""
    raise error(
        f"{path}: is named by the store, and not called; --trust-code (in Python trust_code=True) calls it, "
        "for a store that you made"
    )


def trusted_code() -> dict[str, str]:
    """The environment that a process on another machine needs to trust the same packages."""
    return {TRUSTED: os.environ[TRUSTED]} if TRUSTED in os.environ else {}


def _mistake(function: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]) -> str | None:
    """Why a function cannot be called so, or None."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some written in C tell nothing
        return None
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    takes = {
        parameter.name: parameter
        for parameter in list(signature.parameters.values())[len(arguments) :]
        if parameter.kind in named
    }
    if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in signature.parameters.values()):
        for name in (option for option in options if option not in takes):
            close = closest(name, takes)
            meant = f" (did you mean {close}?)" if close else ""
            return f"options: must be {', '.join(takes) or 'left out'}, got {name!r}{meant}"
    missing = [name for name, take in takes.items() if take.default is take.empty and name not in options]
    if missing:
        return f"options: {', '.join(missing)} must be given"
    try:
        signature.bind(*arguments, **options)
    except TypeError as problem:
        return f"must take {len(arguments)} arguments and its options: {problem}"
    return None


def _import(module_name: str, path: str, error: type[LongtailError]) -> ModuleType:
    """The module, imported package after package, each judged by where it lies before any of its code runs."""
    names = module_name.split(".")
    for count in range(1, len(names) + 1):
        name = ".".join(names[:count])
        _check(name, path, error)
        try:
            with preserved_search_path():
                module = importlib.import_module(name)
        except ModuleNotFoundError as missing:
            if missing.name != name:
                raise  # the user's module was found, but not what it imports
            raise error(_missing(name, path)) from missing
        # What stands in sys.modules may be another module than its name says.
        file = getattr(module, "__file__", None)
        refusal = file and refused_origin(str(getattr(module, "__name__", name)), str(file))
        if refusal:
            raise error(f"{path}: {name} {refusal}")
    return module


def _check(name: str, path: str, error: type[LongtailError]) -> None:
    """Raise `error` where a module is missing or not the user's own; its parents are imported already."""
    refusal = refused_module_name(name)
    if refusal is None:
        spec = _find(name)
        if spec is None:
            raise error(_missing(name, path))
        # A namespace package has no code of its own, and what lies in it is judged by itself.
        if spec.origin is not None or spec.submodule_search_locations is None:
            refusal = refused_origin(name, spec.origin if spec.has_location else None)
    if refusal:
        raise error(f"{path}: {name} {refusal}")


def _find(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except ModuleNotFoundError:  # the parent is no package
        return None
    except ValueError:  # it is imported, and by nothing that says where it lies
        return ModuleSpec(name, None)


def _missing(name: str, path: str) -> str:
    return f"{path}: no module named {name}; install it or put its folder on PYTHONPATH"


def _hint(name: str, module: ModuleType) -> str:
    names = [each for each, value in vars(module).items() if callable(value) and not each.startswith("_")]
    meant = closest(name, names)
    return f" (did you mean {meant}?)" if meant else ""
