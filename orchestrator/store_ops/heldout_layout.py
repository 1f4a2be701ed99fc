"""Reads the layout in which google-research/heldout-influence-estimation published its runs.

`<experiment>/<ratio>/<run>/aux_arrays.npz`, with the arrays correctness_train, correctness_removed and correctness_test
(was the label predicted), index_train, index_removed and index_test (whose correctness that is: example ids; train and
removed together are the whole training set), and subsample_idx (the ids that the run trained on).
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workers.campaign.campaign import MAX_REPETITIONS, ratio_to_ppm
from workers.campaign.keys import Run
from workers.common.arrays import AnyArray
from workers.errors import DamagedDataError, DataError
from workers.store import EpochRecord, RunResult
from workers.store.npz import read_vectors

FILE = "aux_arrays.npz"

Arrays = Mapping[str, AnyArray]

_OF_TRAIN = ("correctness_train", "index_train", "correctness_removed", "index_removed", "subsample_idx")
_OF_TEST = ("correctness_test", "index_test")


def find_runs(experiment: Path) -> dict[Run, Path]:
    """The runs of an experiment, ascending, and the folder of each; a run's repetition is its folder's number.

    Raises DataError where a folder's name is no ratio or no number, where two stand for one run, and where none does.
    """
    runs: dict[Run, Path] = {}
    for at_ratio in _folders(experiment):
        parts = _parts(at_ratio)
        for folder in _folders(at_ratio):
            run = Run(parts, _repetition(folder))
            if run in runs:
                raise DataError(f"{folder}: is the same run as {runs[run]}")
            runs[run] = folder
    if not runs:
        raise DataError(f"{experiment}: holds no run, expected <ratio>/<run>/{FILE} such as 0.7/0/{FILE}")
    return dict(sorted(runs.items()))


def read_run(run: Run, folder: Path, num_train: int, num_test: int) -> RunResult:
    """One run's subset (bool[N]) and correctness (bool[N], bool[T]) after its last epoch.

    Raises DataError, naming the file and the array, where it is missing or damaged, or is not of N and T examples.
    """
    path = folder / FILE
    arrays = read_vectors(path, {**dict.fromkeys(_OF_TRAIN, num_train), **dict.fromkeys(_OF_TEST, num_test)})
    train_correct = _in_order(path, arrays, ("train", "removed"), num_train)
    test_correct = _in_order(path, arrays, ("test",), num_test)
    trained_on = _ids(path, "index_train", arrays, num_train)
    if not np.array_equal(np.unique(_ids(path, "subsample_idx", arrays, num_train)), np.sort(trained_on)):
        raise DamagedDataError(f"{path}: subsample_idx: must hold the ids of index_train, got others")
    # The published sizes are floor(ratio x N); a ratio with many decimals may be rounded in the folder's name.
    if abs(len(trained_on) - run.ratio * num_train) > max(1, 0.01 * num_train):
        raise DamagedDataError(
            f"{path}: index_train: must hold {run.ratio} of {num_train} examples, got {len(trained_on)}"
        )
    subset = np.zeros(num_train, dtype=bool)
    subset[trained_on] = True
    record = EpochRecord(epoch=1, train_correct=train_correct, test_correct=test_correct, train_loss=float("nan"))
    return RunResult(run, subset, [record], status="completed", seconds=float("nan"), device="imported")


def _in_order(path: Path, arrays: Arrays, splits: tuple[str, ...], count: int) -> npt.NDArray[np.bool_]:
    """bool[count], the correctness of example 0, 1, ... from one or two splits that together hold each exactly once."""
    correct = np.zeros(count, dtype=bool)
    times = np.zeros(count, dtype=np.int64)
    for split in splits:
        ids = _ids(path, f"index_{split}", arrays, count)
        correct[ids] = _truths(path, f"correctness_{split}", arrays, len(ids))
        times += np.bincount(ids, minlength=count)
    wrong = np.flatnonzero(times != 1)
    if len(wrong):
        names = " and ".join(f"index_{split}" for split in splits)
        got = f"got example {wrong[0]} {times[wrong[0]]} times"
        raise DamagedDataError(f"{path}: {names}: must hold each of {count} examples once, {got}")
    return correct


def _ids(path: Path, name: str, arrays: Arrays, count: int) -> npt.NDArray[np.int64]:
    """An array of example ids."""
    ids = arrays[name]
    if ids.dtype.kind not in "iu" and len(ids):  # NumPy makes an empty list float64
        raise DamagedDataError(f"{path}: {name}: must be integers, got {ids.dtype}")
    outside = ids[(ids < 0) | (ids >= count)]
    if len(outside):
        raise DamagedDataError(f"{path}: {name}: must be ids from 0 to {count - 1}, got {outside[0]}")
    return ids.astype(np.int64)


def _truths(path: Path, name: str, arrays: Arrays, count: int) -> npt.NDArray[np.bool_]:
    """An array of truth values, which may have been saved as numbers."""
    values = arrays[name]
    if len(values) != count:
        raise DamagedDataError(f"{path}: {name}: must have a value for each of {count} ids, got {len(values)}")
    others = values[(values != 0) & (values != 1)]
    if len(others):
        raise DamagedDataError(f"{path}: {name}: must be 0 or 1, got {others[0]}")
    return values.astype(bool)


def _folders(folder: Path) -> list[Path]:
    """The folders in a folder, but for hidden ones."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror}") from error


def _parts(folder: Path) -> int:
    try:
        return ratio_to_ppm(float(folder.name))
    except ValueError:
        raise DataError(
            f"{folder}: must be named after a ratio, such as 0.7; give the experiment's own folder"
        ) from None


def _repetition(folder: Path) -> int:
    name = folder.name
    if not (name.isascii() and name.isdigit() and int(name) < MAX_REPETITIONS):
        raise DataError(f"{folder}: must be named after the run's number, 0 to {MAX_REPETITIONS - 1}")
    return int(name)
