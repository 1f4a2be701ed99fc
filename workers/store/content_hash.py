"""SHA-256 of the content of results: of a whole file, and of each run in it.

Keys, status, losses, vectors and margins are covered; timings and devices are not. Columns are hashed one after the
other, piece by piece, so that a file of any size takes little memory. The hash does not depend on the pieces.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from workers.errors import DamagedFileError
from workers.store.parquet.table_file import TableFile
from workers.store.probe_columns import PROBE_PREFIX
from workers.store.schema import OPTIONAL, VECTORS

_SCALARS = ("run_id", "epoch", "is_final", "train_loss", "status")
_PIECE = 1 << 23
"""Values that are unpacked at a time."""

Pieces = Callable[[str], Iterable[pa.Table]]
"""A column's rows, in pieces: tables that have that column."""


def content_hash(table: pa.Table) -> str:
    """SHA-256 (hex) of a results table's content. Raises DamagedFileError where a vector's rows differ in length."""
    return _content_hash(lambda name: [table.select([name])], table.num_rows, table.column_names)


def file_hash(file: TableFile) -> str:
    """The same of a file's rows, a row group's column at a time."""
    return _content_hash(lambda name: file.groups([name]), file.num_rows, file.layout.schema.names)


def run_hashes(file: TableFile) -> dict[int, str]:
    """The content hash of each run's rows, by repetition. Raises DamagedFileError where row groups cut a run in two."""
    names = [*_SCALARS, *_vectors(file.layout.schema.names), "repetition"]
    hashes: dict[int, str] = {}
    for table in file.groups(names):
        repetitions = table["repetition"].to_numpy()
        starts = [0, *(np.flatnonzero(np.diff(repetitions)) + 1).tolist()] if len(repetitions) else []
        for start, stop in zip(starts, [*starts[1:], len(repetitions)], strict=False):
            repetition = int(repetitions[start])
            if repetition in hashes:
                raise DamagedFileError(f"contains repetition {repetition} twice")
            hashes[repetition] = content_hash(table.slice(start, stop - start))
    return hashes


def _vectors(columns: Sequence[str]) -> list[str]:
    probes = (name for name in columns if name.startswith(PROBE_PREFIX))
    return [*VECTORS, *(name for name in OPTIONAL if name in columns), *probes]


def _content_hash(pieces: Pieces, rows: int, columns: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for name in _SCALARS:
        digest.update(name.encode())
        for number, values in enumerate(_chunks(pieces, name)):
            text = repr(values.to_pylist())[1:-1]
            digest.update(f"{', ' if number else '['}{text}".encode())
        digest.update(b"]" if rows else b"[]")
    for name in _vectors(columns):
        digest.update(name.encode())
        _hash_vectors(digest, name, pieces, rows)
    return digest.hexdigest()


def _hash_vectors(digest: "hashlib._Hash", name: str, pieces: Pieces, rows: int) -> None:
    """Lengths of all rows, then all values, bits packed across rows."""
    width: int | None = None
    waiting: npt.NDArray[np.bool_] = np.zeros(0, dtype=bool)
    for lists in _chunks(pieces, name):
        lengths = np.diff(lists.offsets.to_numpy())
        if width is None:
            width = int(lengths[0])
            digest.update(np.full(rows, width, dtype="<i8").tobytes())
        if (lengths != width).any():
            raise DamagedFileError(f"column {name} has rows of different lengths")
        for flat in _values(lists, width):
            if flat.dtype != np.bool_:
                digest.update(flat.astype(flat.dtype.newbyteorder("<")).tobytes())
                continue
            bits = np.concatenate([waiting, flat]) if len(waiting) else flat
            whole = len(bits) - len(bits) % 8
            digest.update(np.packbits(bits[:whole]).tobytes())
            waiting = bits[whole:]
    digest.update(np.packbits(waiting).tobytes())


def _chunks(pieces: Pieces, name: str) -> Iterator[pa.Array]:
    return (chunk for piece in pieces(name) for chunk in piece[name].chunks if len(chunk))


def _values(lists: pa.ListArray, width: int) -> Iterator[npt.NDArray[Any]]:
    """The lists' values, some rows at a time."""
    step = max(1, _PIECE // max(1, width))
    for start in range(0, len(lists), step):
        yield lists.slice(start, step).flatten().to_numpy(zero_copy_only=False)
