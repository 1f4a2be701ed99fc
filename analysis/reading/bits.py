"""Subsets and test correctness of one ratio, one bit per run and example."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from analysis.reading.examples import Labels, read_labels
from analysis.reading.selection import check_random_subsets, scan_epoch, select_ratio
from analysis.reading.subset_groups import groups_of_rows
from workers.campaign.campaign import PPM
from workers.common.arrays import Bools, Integers, UInt64s
from workers.common.splits import Split
from workers.errors import EstimateError
from workers.store import Store

Direction = Literal["helpful", "harmful", "both"]
"""Of influence: positive, negative, or either."""

WORD = 64
"""Runs in a word."""


@dataclass(frozen=True)
class PackedBits:
    """bool[runs, width] as uint64[words, width]: run k is bit k % 64, from the lowest, of word k // 64.

    So an example's runs are whole words, and how often two examples agree is a matter of AND and counting ones. Bits
    behind the last run are 0.
    """

    words: UInt64s
    runs: int

    @property
    def width(self) -> int:
        """Examples."""
        return int(self.words.shape[1])

    def counts(self) -> npt.NDArray[np.int64]:
        """int64[width]: the runs whose bit is set."""
        counts: npt.NDArray[np.int64] = np.bitwise_count(self.words).sum(axis=0, dtype=np.int64)
        return counts

    def unpacked(self, rows: npt.NDArray[np.int64] | None = None) -> Bools:
        """bool[len(rows), width]: some runs in this order, or all."""
        chosen = np.arange(self.runs) if rows is None else rows
        return (self.words[chosen // WORD] >> (chosen % WORD).astype(np.uint64)[:, None] & np.uint64(1)).astype(bool)

    def of_examples(self, ids: npt.NDArray[np.int64]) -> "PackedBits":
        """Some examples, in this order."""
        return PackedBits(np.ascontiguousarray(self.words[:, ids]), self.runs)

    def of_runs(self, rows: npt.NDArray[np.int64]) -> "PackedBits":
        """Some runs, in this order."""
        packing = _Packing(self.width)
        for start in range(0, len(rows), WORD):
            packing.add(self.unpacked(rows[start : start + WORD]))
        return packing.bits()


class _Packing:
    """Takes runs and makes them PackedBits, a word of runs at a time."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._words: list[UInt64s] = []
        self._waiting = np.zeros((0, width), dtype=bool)
        self._runs = 0

    def add(self, rows: Bools) -> None:
        """bool[runs, width]."""
        self._runs += len(rows)
        rows = np.concatenate([self._waiting, rows])
        whole = len(rows) - len(rows) % WORD
        self._words += [_word(rows[start : start + WORD]) for start in range(0, whole, WORD)]
        self._waiting = rows[whole:].copy()

    def bits(self) -> PackedBits:
        """All runs so far."""
        words = [*self._words, *([_word(self._waiting)] if len(self._waiting) else [])]
        return PackedBits(np.stack(words) if words else np.zeros((0, self._width), np.uint64), self._runs)


def _word(rows: Bools) -> UInt64s:
    """bool[up to 64, width] to uint64[width]."""
    octets = np.zeros((rows.shape[1], WORD // 8), dtype=np.uint8)
    packed = np.packbits(rows, axis=0, bitorder="little")
    octets[:, : len(packed)] = packed.T
    return octets.view("<u8")[:, 0].astype(np.uint64)


def pack_bits(rows: Bools) -> PackedBits:
    """bool[runs, width], packed."""
    packing = _Packing(rows.shape[1])
    packing.add(rows)
    return packing.bits()


@dataclass(frozen=True)
class RatioBits:
    """The runs of one ratio in ascending repetition, diverged ones left out and counted.

    `subsets` is [runs, N], `test_correct` [runs, T]; `n_in` (int64[N]) counts the runs that trained on an example,
    `correct` (int64[T]) those that predict a test example's label. `epoch` is None where every run diverged. Where
    `affected` is `train`, the training examples take the place of the test examples: T is N, and labels are given ones.
    `groups` (int64[runs], ascending) are the numbers of the runs' subsets where runs share them, else None.
    """

    ratio_ppm: int
    runs: int
    diverged: int
    epoch: int | None
    labels: Labels
    subsets: PackedBits
    test_correct: PackedBits
    n_in: npt.NDArray[np.int64]
    correct: npt.NDArray[np.int64]
    affected: Split = "test"
    groups: Integers | None = None
    counts_errors: bool = False
    """Whether `test_correct` and `correct` are of wrong predictions: a positive influence then is a harmful one."""

    @property
    def ratio(self) -> float:
        """Subset size over N."""
        return self.ratio_ppm / PPM

    @property
    def n_out(self) -> npt.NDArray[np.int64]:
        """int64[N]: the runs that did not train on an example."""
        return self.runs - self.n_in

    def of_errors(self) -> "RatioBits":
        """These runs with wrong in place of right predictions, which negates every influence."""
        every_run = pack_bits(np.ones((self.subsets.runs, 1), dtype=bool)).words
        wrong = PackedBits(~self.test_correct.words & every_run, self.test_correct.runs)
        return replace(self, test_correct=wrong, correct=self.runs - self.correct, counts_errors=not self.counts_errors)

    def of_directions(self, direction: Direction) -> list["RatioBits"]:
        """One for each direction of influence: itself for helpful examples, its errors for harmful ones."""
        chosen = {"helpful": [self], "harmful": [self.of_errors()], "both": [self, self.of_errors()]}
        if direction not in chosen:
            raise EstimateError(f"direction must be one of {', '.join(chosen)}, got {direction!r}")
        return chosen[direction]

    def of_runs(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> "RatioBits":
        """The same of some of the runs alone: int64[runs], their places from 0."""
        chosen = np.asarray(rows, dtype=np.int64)
        subsets, test_correct = self.subsets.of_runs(chosen), self.test_correct.of_runs(chosen)
        groups = None if self.groups is None else self.groups[chosen]
        return replace(self, groups=groups)._counted(subsets, test_correct, subsets.runs)

    def of_examples(self, examples: npt.NDArray[np.int64], tests: npt.NDArray[np.int64]) -> "RatioBits":
        """The same of some training and test examples alone, numbered from 0 in the order of these ids."""
        noisy = self.labels.noisy_image
        labels = Labels(
            self.labels.label[examples],
            self.labels.given_label[examples],
            self.labels.test_label[tests],
            noisy_image=None if noisy is None else noisy[examples],
        )
        subsets, test_correct = self.subsets.of_examples(examples), self.test_correct.of_examples(tests)
        n_in, correct = self.n_in[examples], self.correct[tests]
        return replace(self, labels=labels, subsets=subsets, test_correct=test_correct, n_in=n_in, correct=correct)

    def without_runs(self, left_out: npt.NDArray[np.bool_]) -> "RatioBits":
        """The same for counting without some runs (bool[places]): these keep their places, with all bits 0."""
        mask = pack_bits(~left_out[:, None]).words
        subsets, test_correct = (PackedBits(each.words & mask, each.runs) for each in (self.subsets, self.test_correct))
        return self._counted(subsets, test_correct, self.runs - int(left_out.sum()))

    def _counted(self, subsets: PackedBits, test_correct: PackedBits, runs: int) -> "RatioBits":
        n_in, correct = subsets.counts(), test_correct.counts()
        return replace(self, runs=runs, subsets=subsets, test_correct=test_correct, n_in=n_in, correct=correct)


def ratio_bits(
    ratio_ppm: int, epoch: int | None, diverged: int, labels: Labels, subsets: PackedBits, test_correct: PackedBits
) -> RatioBits:
    """Packed runs with their counts."""
    return RatioBits(
        ratio_ppm=ratio_ppm,
        runs=subsets.runs,
        diverged=diverged,
        epoch=epoch,
        labels=labels,
        subsets=subsets,
        test_correct=test_correct,
        n_in=subsets.counts(),
        correct=test_correct.counts(),
    )


@dataclass(frozen=True)
class PackedColumns:
    """Vectors of one ratio's runs by their column's name; otherwise as `RatioBits`."""

    columns: Mapping[str, PackedBits]
    diverged: int
    epoch: int | None
    groups: Integers | None


def pack_columns(store: Store, columns: Sequence[str], ratio_ppm: int, epoch: int | None = None) -> PackedColumns:
    """Vector columns (subset, train_correct, test_correct) of a ratio's runs (parts per million), in one scan.

    Holds runs x width / 8 bytes for each. Raises EstimateError for an epoch that the store does not have and where
    subsets are explicit, DamagedFileError for an unreadable file.
    """
    check_random_subsets(store)
    header = store.header
    packing = {name: _Packing(header.num_test if name == "test_correct" else header.num_train) for name in columns}
    diverged, last_epoch = 0, None
    groups = [np.zeros(0, dtype=np.int64)]
    for rows in scan_epoch(store, ("repetition", *columns), ratio_ppm, epoch):
        groups.append(groups_of_rows(store, rows))
        for name in columns:
            packing[name].add(store.bits(rows.shard, rows.table, name)[rows.used])
        diverged += rows.diverged
        last_epoch = max((last_epoch or 0, *rows.epochs[rows.used].tolist())) or None
    shared = np.concatenate(groups) if store.header.replicates > 1 else None
    return PackedColumns({name: each.bits() for name, each in packing.items()}, diverged, last_epoch, shared)


def pack_runs(
    store: Store, ratio: float | None = None, epoch: int | None = None, affected: Split = "test"
) -> RatioBits:
    """The packed runs of one ratio (None: see `select_ratio`) at a recorded epoch (None: the last).

    `affected` are the examples whose correctness is counted. Holds runs x (N + T) / 8 bytes. Raises EstimateError for a
    ratio or an epoch that the store does not have and where subsets are explicit, DamagedFileError for an unreadable
    file.
    """
    check_random_subsets(store)
    ratio_ppm = select_ratio(store, ratio)
    column = f"{affected}_correct"
    packed = pack_columns(store, ("subset", column), ratio_ppm, epoch)
    subsets, correct = packed.columns["subset"], packed.columns[column]
    labels = read_labels(store)
    if affected == "train":
        labels = replace(labels, test_label=labels.given_label)
    bits = ratio_bits(ratio_ppm, packed.epoch, packed.diverged, labels, subsets, correct)
    return replace(bits, affected=affected, groups=packed.groups)
