"""Reads untrusted `.npz` files: nothing is unpickled, sizes are checked first."""

import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from workers.common.arrays import AnyArray
from workers.common.regular_file import open_regular
from workers.errors import DamagedDataError, DataError


class ArrayHeader(NamedTuple):
    """What a `.npy` file says of its array."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]


_MAX_HEADER = 10_000
"""Bytes of an array's header: NumPy's own limit, which it looks at after it has read them."""
_KINDS = "biuf"
"""NumPy's letters for truth values, integers and real numbers."""


def read_vectors(path: Path | IO[bytes], longest: Mapping[str, int], where: str | None = None) -> dict[str, AnyArray]:
    """The one-dimensional arrays of numbers or truth values with the names in `longest`; others are left alone.

    Each may have at most as many values as `longest` says. Types and lengths are checked before any array is read.
    Raises DataError, naming the file (as `where`, if that is given) and the array.
    """
    place = where or str(path)
    with wrap_npz_errors(place), _opened(path) as file, zipfile.ZipFile(file) as archive:
        for name, most in longest.items():
            if f"{name}.npy" not in archive.namelist():
                raise DataError(f"{place}: {name}: is missing")
            with wrap_npz_errors(place, name), archive.open(f"{name}.npy") as member:
                _check_header(f"{place}: {name}", member, most)
    if not isinstance(path, Path):
        path.seek(0)
    vectors = {}
    with wrap_npz_errors(place), _opened(path) as file, np.load(file, allow_pickle=False) as arrays:
        for name in longest:
            with wrap_npz_errors(place, name):
                vectors[name] = arrays[name]
    return vectors


def array_names(path: Path) -> list[str]:
    """The names of the arrays in a file. Raises DataError."""
    with wrap_npz_errors(str(path)), _opened(path) as file, zipfile.ZipFile(file) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def _opened(source: Path | IO[bytes]) -> AbstractContextManager[IO[bytes]]:
    return open_regular(source) if isinstance(source, Path) else nullcontext(source)


def read_array_header(member: IO[bytes]) -> ArrayHeader:
    """The header of a `.npy` file, which is left where its values begin.

    Raises ValueError where it is none, is longer than NumPy writes one, or has a shape that no array has.
    """
    is_first = np.lib.format.read_magic(member) == (1, 0)
    length = member.read(2 if is_first else 4)
    size = int.from_bytes(length, "little")
    if size > _MAX_HEADER:
        raise ValueError(f"claims a header of {size:,} bytes, at most {_MAX_HEADER:,} are read")
    read = np.lib.format.read_array_header_1_0 if is_first else np.lib.format.read_array_header_2_0
    header = ArrayHeader(*read(io.BytesIO(length + member.read(size))))
    if any(axis < 0 for axis in header.shape):
        raise ValueError(f"claims the shape {list(header.shape)}")
    return header


def read_number_header(where: str, member: IO[bytes]) -> ArrayHeader:
    """The same of an array of numbers or truth values. Raises DataError where it is of other values."""
    header = read_array_header(member)
    _, _, dtype = header
    if dtype.kind not in _KINDS:
        raise DataError(f"{where}: must hold numbers or truth values, got {dtype}")
    return header


def _check_header(where: str, member: IO[bytes], most: int) -> None:
    shape, _, _ = read_number_header(where, member)
    if len(shape) != 1:
        raise DataError(f"{where}: must have one dimension, got shape {list(shape)}")
    if shape[0] > most:
        raise DataError(f"{where}: must have at most {most} values, got {shape[0]}")


@contextmanager
def wrap_npz_errors(path: str, name: str | None = None) -> Iterator[None]:
    """What zipfile and NumPy raise for a missing, truncated, encrypted or foreign file, as a DataError."""
    where = path if name is None else f"{path}: {name}"
    try:
        yield
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{where}: {error.strerror or error}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        form = ".npy" if path.endswith(".npy") else ".npz"
        raise DamagedDataError(f"{where}: is not a whole {form} file: {reason}") from error
