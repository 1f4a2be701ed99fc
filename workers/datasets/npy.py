"""Writes `.npy` files block by block.

Through plain writes, not a memory map: on a full disk a write fails with an error, a memory map kills the process.
"""

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workers.common.arrays import AnyArray
from workers.errors import DamagedDataError


def write_npy(path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...], blocks: Iterable[AnyArray]) -> None:
    """Write a synced `.npy` file of a known shape from C-contiguous blocks of its rows.

    Raises DataError where the file cannot be written; what `blocks` raises passes through.
    """
    with cache_errors(path):
        file = path.open("xb")
    with file:
        file.write(_header(np.dtype(dtype), shape))
        for block in blocks:
            with cache_errors(path):
                file.write(block.data)
        with cache_errors(path):
            file.flush()
            os.fsync(file.fileno())


def _header(dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> bytes:
    descr = np.lib.format.dtype_to_descr(dtype.newbyteorder("<"))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": descr, "fortran_order": False, "shape": shape})
    return header.getvalue()


@contextmanager
def cache_errors(path: Path) -> Iterator[None]:
    """OSError (no permission, disk full, ...) as a DataError that names the path and the variable to set."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise DamagedDataError(
            f"cache {path}: {reason}; set LONGTAIL_CACHE to a folder that can be written and has space"
        ) from error
