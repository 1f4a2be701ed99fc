"""Functions of users."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.datasets.support import error_of
from workers.campaign.dataset_spec import CustomData
from workers.datasets import load_dataset
from workers.errors import DataError
from workers.user_code.loading import trusted_code

USER_MODULE = """
from functools import partial
from pathlib import Path
from subprocess import run
import numpy as np
from workers.datasets import Dataset

CALLS = []
not_a_function = 3
half = partial(run, "false")

def make_set(value=1, names=("a", "b"), examples=3):
    CALLS.append(value)
    images = np.full((examples, 5), value, dtype=np.float32)
    labels = np.zeros(examples, dtype=np.int64)
    return Dataset(images, labels, images[:0], labels[:0], tuple(names), train_names=[f"row {names[0]}"] * examples)

def broken():
    raise KeyError("mine")

def number():
    return 5
"""


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "user_sets.py").write_text(USER_MODULE)
    (tmp_path / "code" / "user_broken.py").write_text("import module_that_is_not_there\n")
    (tmp_path / "code" / "user_raising.py").write_text("raise ZeroDivisionError('at import')\n")
    monkeypatch.syspath_prepend(tmp_path / "code")
    import user_sets  # type: ignore[import-not-found]

    yield user_sets
    sys.modules.pop("user_sets", None)


def custom(function: str = "user_sets:make_set", **options: Any) -> CustomData:
    return CustomData(name=function, options=options)


def test_a_function_is_called_with_its_options_unless_its_data_are_known(user_module: Any) -> None:
    dataset = load_dataset(custom(value=4))
    assert isinstance(dataset.train_images, np.memmap)
    assert (dataset.train_images[0].tolist(), dataset.white) == ([4.0] * 5, 1.0)
    assert user_module.CALLS == [4, 4]  # new data: called twice, to see whether they are the same
    assert load_dataset(custom(value=4)).fingerprint == dataset.fingerprint
    assert user_module.CALLS == [4, 4, 4]
    assert load_dataset(custom(value=4), dataset.fingerprint).fingerprint == dataset.fingerprint
    assert user_module.CALLS == [4, 4, 4]


@pytest.mark.usefixtures("user_module")
def test_equal_data_under_other_names_keep_their_own_names() -> None:
    assert load_dataset(custom(names=["a", "b"])).class_names == ("a", "b")
    other = load_dataset(custom(names=["c", "d"]))
    assert other.train_names is not None
    assert (other.class_names, other.train_names.to_pylist()) == (("c", "d"), ["row c"] * 3)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        ("user_sets:make_sets", "user_sets has no make_sets (did you mean make_set?)"),
        ("user_sets:not_a_function", "must be a function, got int"),
        ("user_setz:make_set", "no module named user_setz"),
        ("user_sets.inner:make_set", "no module named user_sets.inner"),
        ("user_sets:number", "must return a workers.datasets.Dataset, got int"),
        ("os:system", "os is part of Python itself"),
        ("subprocess:run", "subprocess is part of Python itself"),
        ("builtins:exec", "builtins is part of Python itself"),
        ("numpy:load", "numpy is an installed package; LONGTAIL_CODE=numpy in the environment lets"),
        ("torch.hub:load", "torch is an installed package"),
        ("user_sets:Path", "Path comes from pathlib: pathlib is part of Python itself"),
        ("user_sets:half", "half comes from subprocess: subprocess is part of Python itself"),
    ],
)
@pytest.mark.usefixtures("user_module")
def test_functions_that_are_not_there(function: str, text: str) -> None:
    message = error_of(lambda: load_dataset(custom(function)))
    assert text in message
    assert function in message


@pytest.mark.usefixtures("user_module")
def test_options_that_a_function_does_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    what = "user_sets:make_set: options: must be value, names, examples, got"
    assert error_of(lambda: load_dataset(custom(vale=4))) == f"{what} 'vale' (did you mean value?)"
    assert error_of(lambda: load_dataset(custom(nonsense=4))) == f"{what} 'nonsense'"
    message = error_of(lambda: load_dataset(custom("user_sets:number", value=4)))
    assert message == "user_sets:number: options: must be left out, got 'value'"
    monkeypatch.setenv("LONGTAIL_CODE", "torch")  # functions that say nothing about what they take are called
    with pytest.raises(TypeError):
        load_dataset(custom("torch:tensor", nonsense=4))


@pytest.mark.usefixtures("user_module")
def test_installed_packages_are_trusted_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAIL_CODE", "torch, numpy")
    assert "must return a workers.datasets.Dataset, got ndarray" in error_of(
        lambda: load_dataset(custom("numpy:ones", shape=3))
    )
    assert trusted_code() == {"LONGTAIL_CODE": "torch, numpy"}


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        ("user_sets:broken", KeyError),
        ("user_broken:f", ModuleNotFoundError),
        ("user_raising:f", ZeroDivisionError),
    ],
)
@pytest.mark.usefixtures("user_module")
def test_what_user_code_raises_passes_through(function: str, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        load_dataset(custom(function))
    assert not isinstance(caught.value, DataError)
