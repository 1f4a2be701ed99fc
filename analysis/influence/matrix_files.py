"""Writes the whole influence matrix as a folder of Parquet files, one block of test examples per file."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.influence.estimator import matrix_blocks
from analysis.influence.pair_options import DEFAULTS, PairOptions
from analysis.reading.bits import RatioBits
from workers.errors import EstimateError, NoEstimateError


def write_influence_matrix(
    bits: RatioBits,
    folder: Path,
    *,
    options: PairOptions = DEFAULTS,
) -> int:
    """Write infl of all pairs, 4 N T bytes before compression; returns the number of files.

    A row per test example: test_example_id (int64), infl (list<float>, one per training example in canonical order).
    `pandas.read_parquet(folder, filters=[("test_example_id", "==", 7)])` reads one. Raises EstimateError where the
    folder holds something already, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise EstimateError(f"{folder}: must be an empty folder, or one that does not exist yet")
        tests, row, files = np.arange(bits.labels.num_test), 0, 0
        for rows in matrix_blocks(bits, tests, options):
            ids = tests[row : row + len(rows)]
            _write(folder, ids, rows)
            row, files = row + len(rows), files + 1
    except OSError as error:
        raise NoEstimateError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return files


def _write(folder: Path, ids: np.ndarray, rows: np.ndarray) -> None:
    kind = pa.list_(pa.field("element", pa.float32(), nullable=False))
    offsets = pa.array(np.arange(len(rows) + 1, dtype=np.int32) * np.int32(rows.shape[1]))
    values = pa.ListArray.from_arrays(offsets, pa.array(rows.reshape(-1)), type=kind)
    name = f"tests-{ids[0]:08d}-{ids[-1] + 1:08d}.parquet"
    # Under another name until it is whole: whoever reads the folder while it is written sees whole files alone.
    unfinished = folder / f"_{name}"
    pq.write_table(
        pa.table({"test_example_id": ids, "infl": values}), unfinished, compression="zstd", row_group_size=64
    )
    unfinished.rename(folder / name)
