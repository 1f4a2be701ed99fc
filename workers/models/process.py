"""Restores global state of the process after a model function was called."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from workers.errors import ModelError


@contextmanager
def preserved_global_state(name: str) -> Iterator[None]:
    """Call a model function, or import its module, in here; `name` opens an error.

    NumPy's and Python's global generators start from the seed of torch's, so that what is drawn from them is the run's
    own, too. They, the number of threads and the current folder come back afterwards. Raises ModelError where it
    leaves another default dtype, default device or gradient mode: no model trains as it was meant.
    """
    before = (torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled())
    drawn, drawn_by_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global one is meant
    threads, folder = torch.get_num_threads(), os.getcwd()  # noqa: PTH109 - a string for chdir
    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the global one is meant
    try:
        yield
        dtype, device, gradients = torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()
    finally:
        random.setstate(drawn)
        np.random.set_state(drawn_by_numpy)  # noqa: NPY002 - the global one is meant
        torch.set_default_dtype(before[0])
        if torch.get_default_device() != before[1]:
            torch.set_default_device(before[1])
        torch.set_grad_enabled(before[2])
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        os.chdir(folder)
    if dtype != before[0]:
        raise ModelError(f"{name}: sets torch's default dtype to {dtype}, models train in float32: leave it out")
    if device != before[1]:
        raise ModelError(f"{name}: sets torch's default device to {device}, models are built on the CPU: leave it out")
    if gradients != before[2]:
        raise ModelError(f"{name}: turns gradients off for the whole process (torch.set_grad_enabled): leave it out")
