"""Compiles functions with numba, cached on disk where possible."""

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

Compiled = TypeVar("Compiled", bound=Callable[..., Any])


def compiled(function: Compiled) -> Compiled:
    """The function, compiled; other threads go on while it runs."""
    try:
        compiled_function: Compiled = njit(nogil=True, cache=True)(function)
    except RuntimeError:
        # No folder to keep it in: neither beside this file nor in the user's home.
        compiled_function = njit(nogil=True)(function)
    return compiled_function
