"""`import longtail`: every public name, imported when it is used, and files of the user's that hide our packages."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import longtail
from tests.hiding import hide_packages


def test_every_name_is_there() -> None:
    for name in longtail.__all__:
        assert getattr(longtail, name) is not None
    assert set(longtail.__all__) <= set(dir(longtail))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        longtail.nothing  # noqa: B018


def python(folder: Path, code: str) -> "subprocess.CompletedProcess[str]":
    (folder / "script.py").write_text(code)
    words = [sys.executable, str(folder / "script.py")]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)


def test_importing_it_imports_nothing_large(tmp_path: Path) -> None:
    large = "{'torch', 'ray', 'matplotlib', 'pandas', 'numpy', 'pyarrow', 'analysis'}"
    done = python(tmp_path, f"import sys, longtail\nprint(sorted({large} & set(sys.modules)))\n")
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize("hiding", ["analysis.py", "workers/__init__.py", "orchestrator/x.py"])
def test_what_hides_a_package_of_ours_is_named(hiding: str, tmp_path: Path) -> None:
    (tmp_path / hiding).parent.mkdir(exist_ok=True)
    (tmp_path / hiding).write_text("raise RuntimeError('the file of the user')\n")
    done = python(tmp_path, "import longtail\n")
    if hiding == "orchestrator/x.py":  # a folder without __init__.py hides nothing
        assert done.returncode == 0, done.stderr
    else:
        last = done.stderr.splitlines()[-1]
        assert last.startswith(f"ImportError: {tmp_path / hiding} hides Longtail's package "), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("how", ["the current folder", "PYTHONPATH"])
def test_the_command_is_not_hidden(how: str, tmp_path: Path) -> None:
    hide_packages(tmp_path)
    path = {}
    if how == "PYTHONPATH":
        (tmp_path / "orchestrator.py").unlink()  # it would take the place of the command itself
        path = {"PYTHONPATH": str(tmp_path)}
    words = [str(Path(sys.executable).with_name("longtail")), "status", "nowhere"]
    environment = {**os.environ, **path}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "is not a Longtail store" in done.stderr, done.stderr
