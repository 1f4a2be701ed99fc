"""The origin of a module or a callable: the user's own code, an installed package, Python, or Longtail.

The user's own is what lies in a folder of `sys.path` that no installation put there. Everything is judged by the files
in which it is defined, with links followed and not, and by the names under which Python knows it: what a package calls
itself, or what a module re-exports, counts for nothing.
"""

import os
import site
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache, partial, partialmethod
from inspect import getattr_static
from pathlib import Path
from types import (
    BuiltinFunctionType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

TRUSTED = "LONGTAIL_CODE"
"""Environment variable: installed packages whose functions campaign files may name."""

LONGTAIL = frozenset({"longtail", "orchestrator", "workers", "analysis", "tests", "benchmarks", "docs", "deploy"})
"""Top-level folders of Longtail's source: nobody's own code, wherever they lie and whatever LONGTAIL_CODE says."""

_CHECKOUT = (Path("orchestrator", "cli", "app.py"), Path("workers", "user_code", "code_origin.py"))
"""A folder with these files is a copy of Longtail's source."""
_REFUSED_LONGTAIL = "is Longtail's own, which a campaign file cannot call"
_REFUSED_PYTHON = "is part of Python itself, which a campaign file cannot call"
_INSTALLED = {"site-packages", "dist-packages"}
_WRAPPERS = 100

_user_folders: set[str] = set()


def add_user_folder(folder: str) -> None:
    """Take a folder of `sys.path` for the user's: where the driver of a cluster's worker was called."""
    _user_folders.add(os.path.realpath(folder))


def trusted_packages() -> frozenset[str]:
    """What LONGTAIL_CODE names, less Python's and Longtail's own."""
    names = os.environ.get(TRUSTED, "").replace(" ", "").split(",")
    return frozenset(names) - LONGTAIL - sys.stdlib_module_names - {"", "__main__"}


def refused_module_name(module: str) -> str | None:
    """Why a campaign file cannot name a module, judged by its name alone: see `refused_origin`."""
    package = module.partition(".")[0]
    if package in LONGTAIL:
        return _REFUSED_LONGTAIL
    return _REFUSED_PYTHON if package in sys.stdlib_module_names or package == "__main__" else None


def refused_origin(module: str, place: str | None) -> str | None:
    """Why a campaign file cannot name what is defined in a module, in a few words that follow its name; None: it can.

    `module` is the full name that Python knows; `place` its file, None where it has none (it is built in, or made up).
    """
    named = refused_module_name(module)
    if named or place is None:
        return named or _REFUSED_PYTHON
    package = module.partition(".")[0]
    places = {os.path.abspath(place), os.path.realpath(place)}  # noqa: PTH100 - both with links followed and not
    if any(_is_longtail(place) for place in places):
        return _REFUSED_LONGTAIL
    if any(_is_python(place) for place in places):
        return _REFUSED_PYTHON
    if package not in trusted_packages() and any(_is_installed(place, package) for place in places):
        return (
            f"is an installed package; {TRUSTED}={package} in the environment lets campaign files call it, "
            "else wrap what you need in a function of your own"
        )
    return None


def definitions(function: Any, depth: int = _WRAPPERS) -> Iterator[tuple[str, str | None]]:
    """(module, file) of everything that must be the user's own for a call of this to be one of the user's code.

    Partial functions, bound methods and wrappers stand for what they call; a class for what makes its instances; an
    instance for its `__call__`. What gives no sign of where it was defined, or is nested deeper than `depth`, counts as
    Python's.
    """
    function = _innermost(function) if depth else None
    if isinstance(function, FunctionType):
        yield _of_function(function)
    elif isinstance(function, type):
        yield _of_module(function.__module__)
        for each, name in ((type(function), "__call__"), (function, "__new__"), (function, "__init__")):
            yield from _of_member(each, name, depth)
    elif isinstance(function, BuiltinFunctionType):
        owner = function.__self__
        yield _of_module(owner.__name__ if isinstance(owner, ModuleType) else function.__module__)
    else:
        yield _of_module(type(function).__module__)
        if depth:
            yield from _of_member(type(function), "__call__", depth)


def _innermost(function: Any) -> Any:
    for _ in range(_WRAPPERS):
        if isinstance(function, partial | partialmethod):
            function = function.func
        elif isinstance(function, staticmethod | classmethod | MethodType):
            function = function.__func__
        else:
            wrapped = _attributes(function).get("__wrapped__")
            if wrapped is None or not _holds(function, wrapped):
                return function
            function = wrapped
    return None


def _attributes(value: Any) -> dict[str, Any]:
    """What a value itself holds, without running any code of its own; nothing of classes, whose are for instances."""
    attributes = {} if isinstance(value, type) else getattr_static(value, "__dict__", {})
    try:
        return dict(attributes if isinstance(attributes, dict) else object.__getattribute__(value, "__dict__"))
    except (AttributeError, TypeError):
        return {}


def _holds(wrapper: Any, wrapped: Any) -> bool:
    """Whether a wrapper can call what it says that it wraps: one that cannot only bears another's name."""
    if isinstance(wrapper, FunctionType):
        return any(_content(cell) is wrapped for cell in wrapper.__closure__ or ())
    if type(wrapper).__module__ == "functools":  # lru_cache, in C
        return True
    return any(value is wrapped for name, value in _attributes(wrapper).items() if name != "__wrapped__")


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # still empty
        return None


def _of_function(function: FunctionType) -> tuple[str, str | None]:
    module = function.__globals__.get("__name__")
    file = function.__code__.co_filename
    if file.startswith("<"):  # made by exec, as a dataclass's __init__ is
        return _of_module(module)
    return str(module), file


def _of_module(name: Any) -> tuple[str, str | None]:
    module = sys.modules.get(name) if isinstance(name, str) else None
    spec = getattr(module, "__spec__", None)
    return (str(name) if module else "builtins"), (spec.origin if spec is not None and spec.has_location else None)


def _of_member(owner: type, name: str, depth: int) -> Iterator[tuple[str, str | None]]:
    """The definition of a special method that a class has or inherits; nothing where it is that of every object or
    class. It may be any callable, with a definition elsewhere: `__call__ = os.system`."""
    for each in owner.__mro__:
        if name in vars(each) and each not in (object, type):
            member = vars(each)[name]
            if isinstance(member, WrapperDescriptorType | MethodDescriptorType):  # a class written in C
                yield _of_module(each.__module__)
            else:
                yield from definitions(member, depth - 1)
            return


def _is_longtail(place: str) -> bool:
    path = Path(place)
    for folder in path.parents:
        inside = path.relative_to(folder).parts[0]
        if inside in LONGTAIL and all((folder / file).is_file() for file in _CHECKOUT):
            return True
    return False


def _is_python(place: str) -> bool:
    if _INSTALLED & set(Path(place).parts):
        return False
    folders = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), os.path.dirname(os.__file__)}  # noqa: PTH120
    archive = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    return archive in Path(place).parts or any(
        Path(place).is_relative_to(form) for folder in folders for form in (folder, os.path.realpath(folder))
    )


def _is_installed(place: str, package: str) -> bool:
    """Whether a file is where packages are installed: there, in a folder that an installation put on the path (a `.pth`
    file, an editable install), or beside the record of its installation (`pip install --target`)."""
    if _INSTALLED & set(Path(place).parts):
        return True
    path = os.path.realpath(place)
    if any(Path(path).is_relative_to(folder) for folder in _folders_of_systems()):
        return True
    entries = {os.path.realpath(entry or os.curdir) for entry in sys.path}
    entry = next((str(parent) for parent in Path(path).parents if str(parent) in entries), None)
    if entry is None or _is_recorded(Path(entry), package):
        return True
    named = {os.path.realpath(each) for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each}
    return entry in _folders_of_installations() - {os.path.realpath(os.curdir)} - named - _user_folders


def _is_recorded(folder: Path, package: str) -> bool:
    try:
        records = list(folder.glob("*.dist-info/RECORD"))
        return any(
            line.startswith((f"{package}/", f"{package}."))
            for record in records
            for line in record.read_text(errors="replace").splitlines()
        )
    except OSError:
        return False


@cache
def _folders_of_systems() -> frozenset[str]:
    """Where installations put scripts, libraries and data beside modules. Not the whole of /usr: /usr/src is a usual
    place for one's own code."""
    roots = {sys.prefix, sys.base_prefix, "/usr", "/usr/local"}
    beside = {os.path.join(root, name) for root in roots for name in ("share", "lib", "lib64", "libexec", "include")}  # noqa: PTH118
    return frozenset(map(os.path.realpath, {sysconfig.get_path("scripts"), *beside}))


@cache
def _folders_of_installations() -> frozenset[str]:
    """Folders that `.pth` files add to `sys.path`."""
    folders = set()
    for folder in {
        *site.getsitepackages(),
        site.getusersitepackages(),
        *map(sysconfig.get_path, ("purelib", "platlib")),
    }:
        for file in Path(folder).glob("*.pth") if Path(folder).is_dir() else ():
            try:
                lines = file.read_text(errors="replace").splitlines()
            except OSError:
                continue
            folders |= {
                os.path.realpath(Path(folder, line.strip()))
                for line in lines
                if line.strip() and not line.startswith(("#", "import ", "import\t"))
            }
    return frozenset(folders)
