"""Reads attributions: a score of each training example for each test example, from files that may come from anybody."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from workers.common.arrays import Floats
from workers.common.regular_file import open_regular
from workers.datasets.parquet_files import open_parquet
from workers.errors import DataError
from workers.store.npz import read_array_header, wrap_npz_errors

COLUMNS = ("example_id", "test_example_id", "score")
"""Of a Parquet table of attributions: a row for each pair; pairs without a row have the score 0."""

MAX_ROWS = 1 << 28


def read_attributions(path: str | Path, num_train: int, num_test: int, tests: npt.NDArray[np.int64]) -> Floats:
    """float64[num_train, len(tests)] from a `.npy` or `.parquet` file, for the test examples with these ids.

    A `.npy` file has an array [N, len(tests)] of real numbers, training examples by test examples, as TRAK, dattri and
    pyDVL return; a `.parquet` file has COLUMNS. Raises DataError for another form, for values that are not finite, for
    ids that do not exist, and for a pair that is there twice; pairs of other test examples are left out.
    """
    path = Path(path)
    if path.suffix == ".npy":
        return _read_array(path, (num_train, len(tests)))
    if path.suffix == ".parquet":
        return _read_pairs(path, num_train, num_test, tests)
    raise DataError(f"{path}: must be a .npy or a .parquet file")


def _read_array(path: Path, shape: tuple[int, int]) -> Floats:
    with wrap_npz_errors(str(path)), open_regular(path) as file:
        header = read_array_header(file)
    if header.dtype.kind not in "iuf" or header.shape != shape:
        hint = ": transpose it" if header.shape == shape[::-1] else ""
        raise DataError(
            f"{path}: must be an array of real numbers [training examples, test examples] of shape {shape}, "
            f"got {header.dtype} of shape {header.shape}{hint}"
        )
    with wrap_npz_errors(str(path)):
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    return _finite(path, values.astype(np.float64))


def _read_pairs(path: Path, num_train: int, num_test: int, tests: npt.NDArray[np.int64]) -> Floats:
    file = open_parquet(path, max_rows=MAX_ROWS)
    missing = [column for column in COLUMNS if column not in file.schema.names]
    if missing:
        raise DataError(f"{path}: must have the columns {', '.join(COLUMNS)}; {missing[0]} is missing")
    for column in COLUMNS:
        _check_type(path, column, file.schema.field(column).type)
    scores, filled, rows = np.zeros((num_train, len(tests))), np.zeros((num_train, len(tests)), dtype=bool), 0
    place_of_test = np.full(num_test, -1)
    place_of_test[tests] = np.arange(len(tests))
    for blocks in zip(*(file.blocks(column) for column in COLUMNS), strict=True):
        for column, block in zip(COLUMNS, blocks, strict=True):
            if block.null_count:
                raise DataError(f"{path}: {column}: must have no missing values")
        examples, of_tests, values = (block.to_numpy(zero_copy_only=False) for block in blocks)
        for column, ids, number in (("example_id", examples, num_train), ("test_example_id", of_tests, num_test)):
            if len(ids) and not (ids.min() >= 0 and ids.max() < number):
                raise DataError(f"{path}: {column}: must be from 0 to {number - 1}")
        places = place_of_test[of_tests.astype(np.int64)]
        requested = places >= 0
        pairs = examples[requested].astype(np.int64), places[requested]
        scores[pairs] = values[requested]
        filled[pairs] = True
        rows += len(pairs[0])
    if rows != filled.sum():
        raise DataError(f"{path}: must have a pair once, got {rows:,} rows of {int(filled.sum()):,} pairs")
    return _finite(path, scores)


def _check_type(path: Path, column: str, kind: pa.DataType) -> None:
    if not (pa.types.is_integer(kind) or (column == "score" and pa.types.is_floating(kind))):
        wanted = "numbers" if column == "score" else "whole numbers"
        raise DataError(f"{path}: {column}: must hold {wanted}, got {kind}")


def _finite(path: Path, scores: Floats) -> Floats:
    if not np.isfinite(scores).all():
        raise DataError(f"{path}: must have finite scores only, got {int((~np.isfinite(scores)).sum()):,} others")
    return scores
