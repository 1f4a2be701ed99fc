"""Reads runs from matrices with a row for each run: masks, and correctness or margins.

Arrays of npz files, list columns of Parquet files, or npy files, several files together:

    masks, or train_masks                   truth values [R, N]: whether the run was trained on the example
    train_correct, or train_margins         truth values, or real numbers [R, N]
    test_correct, or test_margins           likewise [R, T]; left out where T is 0

An npy file is one array, called after the file: `train_masks_50pct.npy` is train_masks, as MadryLab/datamodels-data
names its files. A margin, the label's logit less the largest other one, is that of a right prediction if it is over 0.

All rows are runs of one ratio, the mean size over N of the masks that are imported first. Equal masks are runs of one
subset: they follow each other, equally many of each.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workers.campaign.campaign import MAX_REPETITIONS
from workers.campaign.import_spec import ImportedMargins
from workers.campaign.keys import Run
from workers.common.arrays import AnyArray, Bools
from workers.datasets.matrix_file import MatrixFile, truths
from workers.errors import DataError
from workers.store import EpochRecord, RunResult
from workers.store.schema import MAX_FLOAT16
from workers.subsets.masks import ratio_of_sizes

_MASKS = ("masks", "train_masks")
_PERCENT = re.compile(r"_\d+pct$")
_MARGINS = "_margins"


@dataclass(frozen=True)
class Matrix:
    """A matrix in a file: [runs, width]."""

    file: MatrixFile
    name: str
    width: int

    @property
    def where(self) -> str:
        """What messages call it."""
        return f"{self.file.place}: {self.name}"

    @property
    def has_margins(self) -> bool:
        """Whether its values are margins, not correctness."""
        return self.name.endswith(_MARGINS)

    def rows(self) -> Iterator[AnyArray]:
        """Row after row."""
        for block in self.file.blocks(self.name, self.width):
            yield from block


@dataclass(frozen=True)
class MatrixRuns:
    """The first `runs` rows of matrices that go together; `test` None: there are no test examples."""

    masks: Matrix
    train: Matrix
    test: Matrix | None
    runs: int

    def subsets(self) -> tuple[float, int]:
        """The ratio, and the runs of each subset.

        Raises DataError where a mask is empty or holds other values, and where equal masks do not follow each other,
        equally many of each.
        """
        known: dict[bytes, int] = {}
        lengths: list[int] = []
        sizes: list[int] = []
        for number, mask in self._numbered(self.masks):
            row = truths(mask, f"{self.masks.where}: row {number}")
            if not row.any():
                raise DataError(f"{self.masks.where}: row {number}: must have an example, and is empty")
            sizes.append(int(row.sum()))
            digest = hashlib.sha256(np.packbits(row).tobytes()).digest()
            if known.get(digest) == len(lengths) - 1 and lengths:
                lengths[-1] += 1
                continue
            if digest in known:
                raise DataError(f"{self.masks.where}: row {number}: must follow the other rows of its mask")
            known[digest] = len(lengths)
            lengths.append(1)
        if len({*lengths[:-1]}) > 1 or lengths[-1] > lengths[0]:
            counts = ", ".join(map(str, sorted(set(lengths))))
            raise DataError(f"{self.masks.where}: must have equally many rows of each mask, got {counts}")
        return ratio_of_sizes(np.array(sizes), self.masks.width), lengths[0]

    def results(self, ratio_ppm: int) -> Iterator[RunResult]:
        """The runs in their order, each read when it is asked for. Raises DataError."""
        matrices = [self.masks, self.train, *([] if self.test is None else [self.test])]
        for number, rows in enumerate(zip(*(matrix.rows() for matrix in matrices), strict=False)):
            if number == self.runs:
                return
            correct = [
                (_right if matrix.has_margins else truths)(values, f"{matrix.where}: row {number}")
                for matrix, values in zip(matrices[1:], rows[1:], strict=True)
            ]
            outputs = {}
            if self.outputs is not None:
                outputs["test_margin"] = _halves(rows[2])
            if self.outputs == "margin":
                outputs["train_margin"] = _halves(rows[1])
            test = correct[1] if self.test is not None else np.zeros(0, dtype=bool)
            record = EpochRecord(1, correct[0], test, float("nan"), outputs)
            subset = truths(rows[0], f"{self.masks.where}: row {number}")
            yield RunResult(Run(ratio_ppm, number), subset, [record], "completed", float("nan"), "imported")

    @property
    def outputs(self) -> ImportedMargins | None:
        """The margins that a store of these runs has: of both splits, of test examples alone, or none."""
        if self.test is None or not self.test.has_margins:
            return None
        return "margin" if self.train.has_margins else "test_margin"

    def _numbered(self, matrix: Matrix) -> Iterator[tuple[int, AnyArray]]:
        return zip(range(self.runs), matrix.rows(), strict=False)


def open_matrices(paths: Sequence[Path], num_train: int, num_test: int, most: int | None = None) -> MatrixRuns:
    """The matrices in some files, of N training and T test examples; of their rows the first `most`.

    Raises DataError where one is missing or twice there, or they have not as many rows as each other.
    """
    files = [MatrixFile(path, name=_PERCENT.sub("", path.stem)) for path in paths]
    masks = _find(files, _MASKS, num_train)
    train = _find(files, ("train_correct", "train_margins"), num_train)
    test = _find(files, ("test_correct", "test_margins"), num_test) if num_test else None
    rows = masks.file.rows(masks.name)
    for other in (train, test):
        if other is not None and other.file.rows(other.name) != rows:
            got = other.file.rows(other.name)
            raise DataError(f"{other.where}: must have {rows:,} rows, as many as {masks.where}, got {got:,}")
    if rows == 0:
        raise DataError(f"{masks.where}: must have a row, got none")
    runs = rows if most is None else min(rows, most)
    if runs > MAX_REPETITIONS:
        raise DataError(
            f"{masks.where}: must have at most {MAX_REPETITIONS:,} rows, got {runs:,} (--runs takes the first)"
        )
    return MatrixRuns(masks, train, test, runs)


def _find(files: Sequence[MatrixFile], names: Sequence[str], width: int) -> Matrix:
    """The one matrix with one of these names."""
    matrices = [Matrix(file, name, width) for file in files for name in names if name in file.names]
    if len(matrices) != 1:
        there = ", ".join(sorted(name for file in files for name in file.names))[:300] or "nothing"
        places = " and ".join(file.place for file in files)[:300]
        raise DataError(f"{places}: must have one of {' or '.join(names)}, got {len(matrices)} (arrays: {there})")
    return matrices[0]


def _right(margins: AnyArray, where: str) -> Bools:
    """Whether predictions with these margins are right. Raises DataError for NaN, which says neither."""
    unknown = np.flatnonzero(np.isnan(margins))
    if len(unknown):
        raise DataError(f"{where}: must be numbers, got NaN for example {unknown[0]}")
    right: Bools = margins > 0
    return right


def _halves(margins: AnyArray) -> npt.NDArray[np.float16]:
    """As a store has them: clipped, NaN where they are not finite."""
    clipped = np.clip(margins.astype(np.float64), -MAX_FLOAT16, MAX_FLOAT16)
    halves: npt.NDArray[np.float16] = np.where(np.isfinite(margins), clipped, np.nan).astype(np.float16)
    return halves
