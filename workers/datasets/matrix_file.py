"""Reads matrices of untrusted `.npz` and Parquet files in blocks of rows; sizes are checked, nothing is unpickled.

In an npz file a matrix is an array [rows, width] in C order, and so is a npy file. In a Parquet file it is a column of
lists, each of `width` values, a row for each row of the matrix.
"""

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa

from workers.common.arrays import AnyArray, Bools
from workers.common.regular_file import open_regular
from workers.datasets.parquet_files import ParquetFile, open_parquet
from workers.errors import DataError
from workers.store.npz import read_number_header, wrap_npz_errors

_BLOCK_BYTES = 32 << 20
"""Bytes of a block of rows; one row at least."""
_MAX_WIDTH = 1 << 24


class MatrixFile:
    """An open file of matrices, which messages call `place`. Raises DataError where it is neither npz nor Parquet."""

    def __init__(self, source: Path | pa.Buffer, place: str | None = None, name: str | None = None) -> None:
        """`name` is what an array is called that a npy file has; None: such a file is refused."""
        self.place = place or str(source)
        self._source = source
        try:
            with self._open() as file:
                start = file.read(6)
        except OSError as error:
            raise DataError(f"{self.place}: {error.strerror or error}") from error
        self._is_npy = start == b"\x93NUMPY" and name is not None
        self._parquet: ParquetFile | None = None
        self.names: tuple[str, ...]
        """Of its arrays or columns."""
        if self._is_npy and name is not None:
            self.names = (name,)
        elif start[:4] == b"PAR1":
            self._parquet = open_parquet(source, self.place)
            self.names = tuple(self._parquet.schema.names)
        elif start[:4] == b"PK\x03\x04":
            with wrap_npz_errors(self.place), self._open() as file, zipfile.ZipFile(file) as archive:
                members = archive.namelist()
            self.names = tuple(member.removesuffix(".npy") for member in members if member.endswith(".npy"))
        else:
            raise DataError(f"{self.place}: must be a .npz or Parquet file, and is neither")

    def rows(self, name: str) -> int:
        """The number of rows of a matrix, as its header has it. Raises DataError where it is none of numbers."""
        self._check_name(name)
        if self._parquet is not None:
            return self._parquet.rows
        with self._member(name) as member:
            return self._header(name, member, None)[0]

    def blocks(self, name: str, width: int) -> Iterator[AnyArray]:
        """The rows of a matrix, [some, width] at a time. Raises DataError where it has another width or is damaged."""
        self._check_name(name)
        if not 0 < width <= _MAX_WIDTH:
            raise DataError(f"{self.place}: {name}: must have 1 to {_MAX_WIDTH:,} columns, got {width:,}")
        if self._parquet is not None:
            for values in self._parquet.list_blocks(name, width, max(1, _BLOCK_BYTES // (8 * width))):
                yield values.reshape(-1, width)
            return
        with self._member(name) as member:
            rows, dtype = self._header(name, member, width)
            yield from _npy_blocks(member, rows, width, dtype)

    def _header(self, name: str, member: IO[bytes], width: int | None) -> tuple[int, "np.dtype[np.generic]"]:
        where = f"{self.place}: {name}"
        shape, fortran, dtype = read_number_header(where, member)
        if len(shape) != 2:
            raise DataError(f"{where}: must have two dimensions, got shape {list(shape)}")
        if width is not None and shape[1] != width:
            raise DataError(f"{where}: must have {width:,} columns, got {shape[1]:,}")
        if fortran and min(shape) > 1:
            raise DataError(f"{where}: must be in C order (numpy.ascontiguousarray), got Fortran order")
        return int(shape[0]), dtype

    def _check_name(self, name: str) -> None:
        if name not in self.names:
            raise DataError(
                f"{self.place}: {name}: is missing, only {', '.join(self.names)[:200] or 'nothing'} is there"
            )

    @contextmanager
    def _member(self, name: str) -> Iterator[IO[bytes]]:
        """An array of the npz file, or the npy file's own."""
        if self._is_npy:
            with wrap_npz_errors(self.place, name), self._open() as file:
                yield file
            return
        with (
            wrap_npz_errors(self.place, name),
            self._open() as file,
            zipfile.ZipFile(file) as archive,
            archive.open(f"{name}.npy") as member,
        ):
            yield member

    def _open(self) -> IO[bytes]:
        return open_regular(self._source) if isinstance(self._source, Path) else io.BytesIO(self._source)


def _npy_blocks(member: IO[bytes], rows: int, width: int, dtype: "np.dtype[np.generic]") -> Iterator[AnyArray]:
    """Values as they come, so that a header which claims more rows than there are takes no memory."""
    count = max(1, _BLOCK_BYTES // (width * dtype.itemsize))
    for start in range(0, rows, count):
        size = min(count, rows - start) * width * dtype.itemsize
        content = member.read(size)
        if len(content) != size:
            raise EOFError("ends before its last row")  # `wrap_npz_errors` says of what
        yield np.frombuffer(content, dtype).reshape(-1, width)


def truths(values: AnyArray, where: str) -> Bools:
    """Truth values, which may have been saved as numbers. Raises DataError where one is neither 0 nor 1."""
    if values.dtype == bool:
        return values
    others = values[(values != 0) & (values != 1)]
    if len(others):
        raise DataError(f"{where}: must be true and false, or 1 and 0, got {others[0]}")
    return values.astype(bool)
