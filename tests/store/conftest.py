"""Stores of these tests."""

from pathlib import Path

import pytest

from tests.stores import new_store
from workers.store import Store


@pytest.fixture(params=["disk", "fsspec"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store on each kind of place."""
    return new_store(tmp_path / "store" if request.param == "disk" else f"memory://{tmp_path.name}/store")
