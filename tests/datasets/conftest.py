"""Fixtures of the data set tests: a cache and an image folder of their own."""

from pathlib import Path

import pytest

from tests.datasets.support import write_image


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "cache"
    monkeypatch.setenv("LONGTAIL_CACHE", str(root))
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    for index, name in enumerate(["train/cat/b.png", "train/cat/a.PNG", "train/ant/z.bmp", "val/cat/c.png"]):
        write_image(root / name, (index, 10, 20))
    return root
