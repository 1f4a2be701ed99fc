"""Fixtures of the tests of probes."""

from collections.abc import Iterator

import pytest
import torch

from workers.training.determinism import deterministic


@pytest.fixture(autouse=True)
def as_a_worker_does() -> Iterator[None]:
    """Deterministic kernels, one thread."""
    with deterministic(torch.device("cpu")):
        yield
