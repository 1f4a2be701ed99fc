"""Outputs of every run of one ratio for every example, in one pass: how confident each model is of each label."""

from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from analysis.reading.counts import RatioCounts, StoreCounts
from analysis.reading.examples import Labels, read_labels
from analysis.reading.recorded_output import recorded_output
from analysis.reading.selection import EpochRows, check_random_subsets, check_some_run, scan_epoch, select_ratio
from workers.campaign.campaign import PPM
from workers.common.arrays import AnyArray, Bools, Floats, Integers
from workers.errors import EstimateError, NoEstimateError
from workers.store import Store
from workers.store.output_columns import OutputColumn, output_columns
from workers.store.schema import MAX_FLOAT16

Signal = Literal["loss", "margin"]
"""The outputs that tell a confidence, best first."""

_SMALLEST_LOSS = 2.0**-25
"""Smaller losses are recorded as 0: half of the smallest positive float16."""


@dataclass(frozen=True)
class RunOutputs:
    """The runs of one ratio in ascending repetition, K of them: `members` bool[K, N] are their subsets.

    `correct` bool[K, N] tells which training examples each predicts as labelled. `train` float16[K, N] and `test`
    float16[K, T] are recorded values of `signal`. `diverged` runs are left out, and so are those with a value that is
    not finite (`not_finite`). `saturated` counts the values of training examples that float16 holds as a limit: a loss
    of 0, a loss or margin of 65,504 or more.
    """

    ratio_ppm: int
    epoch: int | None
    diverged: int
    not_finite: int
    saturated: int
    signal: Signal
    labels: Labels
    repetitions: Integers
    members: Bools
    correct: Bools
    train: npt.NDArray[np.float16]
    test: npt.NDArray[np.float16]

    @property
    def ratio(self) -> float:
        """Subset size over N."""
        return self.ratio_ppm / PPM

    @property
    def runs(self) -> int:
        """K."""
        return len(self.members)

    def some(self, chosen: Bools) -> "RunOutputs":
        """Of some of the runs, by a mask bool[K]; the counts of runs that are left out stay."""
        names = ("repetitions", "members", "correct", "train", "test")
        return replace(self, **{name: getattr(self, name)[chosen] for name in names})

    def counts(self) -> StoreCounts:
        """The sums that memorization needs, of these runs."""
        n_in, correct_in = self.members.sum(axis=0), (self.members & self.correct).sum(axis=0)
        n_out, correct_out = self.runs - n_in, self.correct.sum(axis=0) - correct_in
        sums = (n_in, correct_in, n_out, correct_out)
        return StoreCounts(self.labels, (RatioCounts(self.ratio_ppm, self.runs, self.diverged, self.epoch, *sums),))


def read_run_outputs(store: Store, ratio: float | None = None, epoch: int | None = None) -> RunOutputs:
    """The runs of one ratio (None: see `select_ratio`) at a recorded epoch (None: the last), losses before margins.

    Holds runs x (4 N + 2 T) bytes. Raises EstimateError for a ratio or an epoch that the store does not have, where
    neither output is recorded, where no example is held out, and where subsets are explicit; NoEstimateError where no
    run is left; DamagedFileError for an unreadable file.
    """
    check_random_subsets(store)
    ratio_ppm = select_ratio(store, ratio)
    if ratio_ppm == PPM:
        raise EstimateError(f"{store.uri}: has no example that is held out: the ratio must be below 1, got 1")
    signal = recorded_signal(store)
    columns = tuple(OutputColumn(signal, split).name for split in ("train", "test"))
    arrays = _RunArrays(store, ratio_ppm)
    diverged = not_finite = last_epoch = 0
    for rows in scan_epoch(store, ("repetition", "subset", "train_correct", *columns), ratio_ppm, epoch):
        train, test = (store.vectors(rows.shard, rows.table, column) for column in columns)
        finite = np.isfinite(train).all(axis=1) & np.isfinite(test).all(axis=1)
        used = arrays.add(store, rows, rows.used & finite, train, test)
        diverged += rows.diverged
        not_finite += int((rows.used & ~finite).sum())
        last_epoch = max(last_epoch, *rows.epochs[used].tolist(), 0)
    if not_finite and not arrays.runs:
        raise NoEstimateError(
            f"{store.uri}: has no run with finite outputs at ratio {ratio_ppm / PPM:g}: "
            f"{not_finite} have some that are not, {diverged} diverged"
        )
    check_some_run(store.uri, arrays.runs, diverged, ratio_ppm / PPM)
    return RunOutputs(
        ratio_ppm=ratio_ppm,
        epoch=last_epoch or None,
        diverged=diverged,
        not_finite=not_finite,
        saturated=_saturated(arrays.train[: arrays.runs], signal),
        signal=signal,
        labels=read_labels(store),
        repetitions=arrays.repetitions[: arrays.runs],
        members=arrays.members[: arrays.runs],
        correct=arrays.correct[: arrays.runs],
        train=arrays.train[: arrays.runs],
        test=arrays.test[: arrays.runs],
    )


class _RunArrays:
    """The arrays of the committed runs of a ratio, of which `runs` are filled: nothing is held twice."""

    def __init__(self, store: Store, ratio_ppm: int) -> None:
        count = sum(shard.stop - shard.start for shard in store.shards() if shard.ratio_ppm == ratio_ppm)
        num_train, num_test = store.header.num_train, store.header.num_test
        self.runs = 0
        self.repetitions = np.zeros(count, dtype=np.int64)
        self.members, self.correct = np.zeros((2, count, num_train), dtype=bool)
        self.train = np.zeros((count, num_train), dtype=np.float16)
        self.test = np.zeros((count, num_test), dtype=np.float16)

    def add(self, store: Store, rows: EpochRows, chosen: Bools, train: AnyArray, test: AnyArray) -> Bools:
        """Some rows with their outputs; which were added: runs that another driver commits meanwhile are not."""
        used: Bools = chosen & (chosen.cumsum() <= len(self.members) - self.runs)
        place = slice(self.runs, self.runs + int(used.sum()))
        self.members[place] = store.bits(rows.shard, rows.table, "subset")[used]
        self.correct[place] = store.bits(rows.shard, rows.table, "train_correct")[used]
        self.repetitions[place] = rows.table["repetition"].to_numpy()[used]
        self.train[place], self.test[place] = train[used], test[used]
        self.runs = place.stop
        return used


def recorded_signal(store: Store) -> Signal:
    """The loss where it is recorded of training examples, else the margin. Raises EstimateError where neither is."""
    recorded = output_columns(store.header.record)
    if OutputColumn("loss", "train") not in recorded and OutputColumn("margin", "train") in recorded:
        return "margin"
    recorded_output(store, "loss", "train")  # raises where it is not
    return "loss"


def logit_confidence(values: npt.NDArray[np.float16], signal: Signal) -> Floats:
    """log(p / (1 - p)) of the label's probability p, as float64.

    Of a loss l = -log p it is -l - log(1 - e^-l), without the cancellation that 1 - p has near 1. A loss of 0 counts as
    2^-25, the largest that is recorded as 0. A margin stands for it as it is, which is exact for two classes.
    """
    return _confidences(signal)[values.view(np.uint16)]


@cache
def _confidences(signal: Signal) -> Floats:
    """float64[65,536], of each float16 by its bits; of no meaning where it is not finite, or a loss below 0."""
    values = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float64)
    if signal == "margin":
        return values
    loss = np.maximum(values, _SMALLEST_LOSS)
    with np.errstate(invalid="ignore"):  # NaN
        confidences: Floats = -loss - np.log(-np.expm1(-loss))
    return confidences


def _saturated(values: npt.NDArray[np.float16], signal: Signal) -> int:
    beyond = np.abs(values) >= MAX_FLOAT16
    return int((beyond | (values == 0) if signal == "loss" else beyond).sum())
