"""Reads attributions: a score of each training example for each test example, from files that may come from anybody."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from workers.common.arrays import Floats
from workers.errors import DataError
from workers.store.npz import read_array_header, wrap_npz_errors

COLUMNS = ("example_id", "test_example_id", "score")
"""Of a Parquet table of attributions: a row for each pair; pairs without a row have the score 0."""

MAX_ROWS = 1 << 28


def read_attributions(path: str | Path, num_train: int, tests: npt.NDArray[np.int64]) -> Floats:
    """float64[num_train, len(tests)] from a `.npy` or `.parquet` file, for the test examples with these ids.

    A `.npy` file has an array [N, len(tests)] of real numbers, training examples by test examples, as TRAK, dattri and
    pyDVL return; a `.parquet` file has COLUMNS. Raises DataError for another form, for values that are not finite, and
    for ids that do not exist; pairs of other test examples are left out.
    """
    path = Path(path)
    if path.suffix == ".npy":
        return _read_array(path, (num_train, len(tests)))
    if path.suffix == ".parquet":
        return _read_pairs(path, num_train, tests)
    raise DataError(f"{path}: must be a .npy or a .parquet file")


def _read_array(path: Path, shape: tuple[int, int]) -> Floats:
    with wrap_npz_errors(str(path)), path.open("rb") as file:
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


def _read_pairs(path: Path, num_train: int, tests: npt.NDArray[np.int64]) -> Floats:
    try:
        file = pq.ParquetFile(path)
        missing = [column for column in COLUMNS if column not in file.schema_arrow.names]
        if missing:
            raise DataError(f"{path}: must have the columns {', '.join(COLUMNS)}; {missing[0]} is missing")
        if file.metadata.num_rows > MAX_ROWS:
            raise DataError(f"{path}: must have at most {MAX_ROWS:,} rows, got {file.metadata.num_rows:,}")
        scores = np.zeros((num_train, len(tests)))
        for batch in file.iter_batches(columns=list(COLUMNS)):
            examples, of_tests, values = (_numbers(path, batch, column) for column in COLUMNS)
            if len(examples) and not (examples.min() >= 0 and examples.max() < num_train):
                raise DataError(f"{path}: example_id: must be from 0 to {num_train - 1}")
            places = np.minimum(np.searchsorted(tests, of_tests), len(tests) - 1)
            requested = tests[places] == of_tests
            scores[examples[requested].astype(np.int64), places[requested]] = values[requested]
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {next(iter(str(error).splitlines()), '')}") from error
    return _finite(path, scores)


def _numbers(path: Path, batch: pa.RecordBatch, column: str) -> npt.NDArray[np.float64]:
    values = batch.column(column)
    if not (pa.types.is_integer(values.type) or (column == "score" and pa.types.is_floating(values.type))):
        wanted = "numbers" if column == "score" else "whole numbers"
        raise DataError(f"{path}: {column}: must hold {wanted}, got {values.type}")
    if values.null_count:
        raise DataError(f"{path}: {column}: must have no missing values")
    numbers: npt.NDArray[np.float64] = values.to_numpy(zero_copy_only=False).astype(np.float64)
    return numbers


def _finite(path: Path, scores: Floats) -> Floats:
    if not np.isfinite(scores).all():
        raise DataError(f"{path}: must have finite scores only, got {int((~np.isfinite(scores)).sum()):,} others")
    return scores
