"""Fixes the state of global random generators while a data function is called."""

import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

_TORCH_DEFAULT_SEED = 67280421310721
"""The seed that torch's generator has in a new process."""


@contextmanager
def fixed_random_state() -> Iterator[None]:
    """NumPy's and Python's global generators start from 0, torch's as in a new process; they come back, and the folder.

    So a data function that draws from them gives the same data at each call, and in each process.
    """
    folder = os.getcwd()  # noqa: PTH109 - a string for chdir
    drawn, drawn_by_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global one is meant
    torch = sys.modules.get("torch")
    drawn_by_torch = None if torch is None else torch.get_rng_state()
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - the global one is meant
    if torch is not None:
        torch.default_generator.manual_seed(_TORCH_DEFAULT_SEED)
    try:
        yield
    finally:
        random.setstate(drawn)
        np.random.set_state(drawn_by_numpy)  # noqa: NPY002 - the global one is meant
        if torch is not None:
            torch.set_rng_state(drawn_by_torch)
        os.chdir(folder)
