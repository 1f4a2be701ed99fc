"""What a campaign file may name is the user's own code: judged by where it lies, and by where it was defined."""

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.isolation import ROOT
from workers.errors import DataError
from workers.user_code import code_origin
from workers.user_code.code_origin import refused_origin
from workers.user_code.loading import load_function

MINE = """
import os, subprocess
from dataclasses import dataclass
from functools import lru_cache, partial, partialmethod, update_wrapper, wraps
from os import system
from subprocess import call, run

import numpy
import torch
from torch import load, nn, tensor
from torch.nn import Linear

from orchestrator.runners.ray.cluster import connect
from workers.datasets import Dataset


def own(): pass

@lru_cache
def cached(): pass

@torch.no_grad()
def without_gradients(): pass

def decorated(function):
    @wraps(function)
    def inner(*positional, **named): return function(*positional, **named)
    return inner

own_wrapped = decorated(own)
run_wrapped = decorated(run)
renamed = decorated(run)
renamed.__module__ = __name__
update_wrapper(call, own)  # bears the name of what it does not call
part, own_part = partial(system, "id"), partial(own)
vectorized = numpy.vectorize(os.system)

class Inherited(subprocess.Popen): pass
class Layer(nn.Linear): pass
class OwnData(Dataset): pass

class Net(nn.Module):
    def __init__(self): super().__init__()
    def method(self): pass

@dataclass
class Record:
    a: int = 1

class Callable:
    def __call__(self): pass

class Static:
    __call__ = staticmethod(os.system)
class Plain:
    __call__ = os.system
class Partial:
    __call__ = partialmethod(os.system, "id")
class Nested:
    __call__ = Static()
class Endless: pass
Endless.__call__ = Endless()
class Meta(type):
    __call__ = os.system
class OfMeta(metaclass=Meta): pass
class Made:
    __new__ = staticmethod(os.system)
class OwnMeta(type):
    def __call__(cls, *positional, **named): return super().__call__()
class OfOwnMeta(metaclass=OwnMeta): pass

static, plain, partly, nested, endless = Static(), Plain(), Partial(), Nested(), Endless()
instance, bound, net = Callable(), Net().method, Net()
alias = list[int]
"""
OWN = [
    "own",
    "cached",
    "without_gradients",
    "own_wrapped",
    "own_part",
    "Net",
    "Record",
    "Callable",
    "instance",
    "bound",
    "OfOwnMeta",
]
OTHERS = {
    **dict.fromkeys(("static", "plain", "partly", "nested", "endless", "OfMeta", "Made"), "is part of Python itself"),
    "run": "run comes from subprocess: subprocess is part of Python itself",
    "run_wrapped": "comes from subprocess",
    "renamed": "comes from subprocess",
    "call": "comes from subprocess",
    "system": "is part of Python itself",
    "part": "is part of Python itself",
    "alias": "is part of Python itself",
    "wraps": "comes from functools",
    "Inherited": "comes from subprocess",
    "vectorized": "numpy is an installed package",
    "load": "comes from torch.serialization: torch is an installed package; LONGTAIL_CODE=torch in the",
    "tensor": "torch is an installed package",
    "Linear": "torch is an installed package",
    "Layer": "torch is an installed package",
    "net": "torch is an installed package",
    "connect": "comes from orchestrator.runners.ray.cluster: orchestrator is Longtail's own",
    "OwnData": "workers is Longtail's own",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the user's own on the path; what is imported from it is forgotten afterwards."""
    known = set(sys.modules)
    path = tmp_path / "code"
    path.mkdir()
    (path / "mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(path)
    yield path
    for name in set(sys.modules) - known:
        if name.partition(".")[0] in {
            "mine",
            "space",
            "linked",
            "zipped",
            "installed",
            "isolation",
            "editable",
            "parent",
        }:
            del sys.modules[name]
    code_origin._folders_of_installations.cache_clear()


def refusal(path: str) -> str:
    with pytest.raises(DataError) as caught:
        load_function(path, DataError)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.usefixtures("folder")
def test_a_callable_belongs_where_it_was_defined() -> None:
    for name in OWN:
        assert callable(load_function(f"mine:{name}", DataError))
    for name, text in OTHERS.items():
        message = refusal(f"mine:{name}")
        assert text in message and message.startswith(f"mine:{name}: "), message


@pytest.mark.parametrize("code", ["", "os, posix, orchestrator, workers, tests, benchmarks, __main__"])
@pytest.mark.parametrize(
    ("path", "owner"),
    [
        ("os:system", "part of Python"),
        ("os.path:join", "part of Python"),
        ("__main__:main", "part of Python"),
        ("test.support:run_in_subinterp", "part of Python"),  # no name of the standard library's list
        ("antigravity:webbrowser", "part of Python"),  # importing it would open a browser
        ("benchmarks.isolation:start", "Longtail's own"),
        ("tests.user_code:blobs", "Longtail's own"),
        ("orchestrator.runners.ray.cluster:connect", "Longtail's own"),
        ("workers.user_code.loading:load_function", "Longtail's own"),
        ("benchmarks.speed:main", "Longtail's own"),
        ("docs.site_hooks:on_config", "Longtail's own"),
        ("isolation:start", "Longtail's own"),  # the folder of benchmarks is on the path
        ("_pytest.config:main", "an installed package"),
        ("yaml:unsafe_load", "an installed package"),
    ],
)
def test_neither_python_nor_longtail_nor_packages(
    path: str, owner: str, code: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LONGTAIL_CODE", code)
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    known = set(sys.modules)
    assert f"is {owner}" in refusal(path)
    assert set(sys.modules) == known, "judged before it is imported"


def test_copies_of_longtail_are_not_the_users(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied = folder / "copied"
    for file in ("orchestrator/cli/app.py", "workers/user_code/code_origin.py", "benchmarks/isolation.py"):
        (copied / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, copied / file)
    monkeypatch.syspath_prepend(copied / "benchmarks")
    assert "isolation is Longtail's own" in refusal("isolation:start")
    assert "copied.benchmarks.isolation is Longtail's own" in refusal("copied.benchmarks.isolation:start")
    (folder / "linked.py").symlink_to(ROOT / "benchmarks" / "isolation.py")
    assert "linked is Longtail's own" in refusal("linked:start")


def test_where_a_module_lies(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "space").mkdir()
    (folder / "space" / "inner.py").write_text("def f(): pass\n")
    assert callable(load_function("space.inner:f", DataError))
    assert refusal("space:f") == "space:f: space has no f"
    assert "no module named mine.x" in refusal("mine.x:f")
    assert refusal("a..b:f") == "'a..b:f': must be package.module:function"
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("zipped.py", "def f(): pass\n")
    monkeypatch.syspath_prepend(folder / "a.zip")
    assert callable(load_function("zipped:f", DataError))
    (folder / "linked").symlink_to(Path(sysconfig.get_path("purelib"), "yaml"))
    assert "linked is an installed package" in refusal("linked:unsafe_load")
    target = folder / "target"  # as `pip install --target` leaves it
    (target / "installed-1.0.dist-info").mkdir(parents=True)
    (target / "installed-1.0.dist-info" / "RECORD").write_text("installed.py,,\n")
    (target / "installed.py").write_text("def f(): pass\n")
    monkeypatch.syspath_prepend(target)
    assert "installed is an installed package; LONGTAIL_CODE=installed in" in refusal("installed:f")
    monkeypatch.setenv("LONGTAIL_CODE", "installed")
    assert callable(load_function("installed:f", DataError))
    sys.modules["installed.helpers"] = subprocess  # another module than its name says
    assert "is part of Python itself" in refusal("installed.helpers:run")


def test_a_folder_that_an_installation_put_on_the_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An editable install is one, except where the user calls from it or names it in PYTHONPATH."""
    site, project = folder / "site", folder / "project"
    site.mkdir()
    project.mkdir()
    (site / "editable.pth").write_text(f"import sys\n{project}\n")
    (project / "editable.py").write_text("def f(): pass\n")
    monkeypatch.syspath_prepend(project)
    monkeypatch.setattr("site.getsitepackages", lambda: [str(site)])
    code_origin._folders_of_installations.cache_clear()
    assert "editable is an installed package; LONGTAIL_CODE=editable in" in refusal("editable:f")
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(project))
        assert callable(load_function("editable:f", DataError))
    monkeypatch.chdir(project)
    assert callable(load_function("editable:f", DataError))


def test_no_parent_is_imported_of_what_is_refused(folder: Path) -> None:
    (folder / "parent").mkdir()
    (folder / "parent" / "__init__.py").write_text("")
    (folder / "parent" / "yaml").symlink_to(Path(sysconfig.get_path("purelib"), "yaml"))
    assert "parent.yaml is an installed package; LONGTAIL_CODE=parent" in refusal("parent.yaml.loader:Loader")
    assert "parent.yaml" not in sys.modules


def test_scripts_and_system_folders_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (Path(sysconfig.get_path("scripts"), "tool.py"), Path("/usr/share/python3/py3versions.py")):
        assert "is an installed package" in str(refused_origin("tool", str(place)))
    monkeypatch.syspath_prepend("/usr/src/app")
    assert refused_origin("app", "/usr/src/app/app.py") is None
