"""Inputs of datamodels and of influence on outputs: the subsets of one ratio's runs, and an output of test examples."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from analysis.reading.examples import Labels, read_labels
from analysis.reading.recorded_output import recorded_output
from analysis.reading.selection import check_random_subsets, chosen_tests, scan_epoch, select_ratio
from analysis.reading.subset_groups import groups_of_rows
from workers.campaign.campaign import PPM
from workers.common.arrays import Bools
from workers.store import Store
from workers.store.output_columns import OutputColumn, output_columns
from workers.store.schema import MAX_FLOAT16

TestOutput = Literal["margin", "loss", "probability", "correctness"]


@dataclass(frozen=True)
class RatioOutputs:
    """The runs of one ratio in ascending repetition: `subsets` bool[runs, N], `outputs` float32[runs, len(tests)].

    `tests` are int64 ids of test examples, ascending. `diverged` runs are left out, and so are those with an output
    that is not finite on one of the test examples (`not_finite`). `epoch` is None where no run is left. `saturated`
    counts the outputs of 65,504 or more, or -65,504 or less: float16 holds no larger ones. `groups` int64[runs] has
    equal numbers for runs of one subset: see `analysis.reading.subset_groups`.
    """

    ratio_ppm: int
    output: TestOutput
    epoch: int | None
    diverged: int
    not_finite: int
    saturated: int
    labels: Labels
    tests: npt.NDArray[np.int64]
    subsets: npt.NDArray[np.bool_]
    outputs: npt.NDArray[np.float32]
    groups: npt.NDArray[np.int64]

    @property
    def ratio(self) -> float:
        """Subset size over N."""
        return self.ratio_ppm / PPM

    @property
    def runs(self) -> int:
        """The runs that are left."""
        return len(self.subsets)

    def of_rows(self, chosen: Bools) -> "RatioOutputs":
        """The same with some of the runs, a mask bool[runs]."""
        return replace(self, subsets=self.subsets[chosen], outputs=self.outputs[chosen], groups=self.groups[chosen])

    def of_subsets(self) -> "RatioOutputs":
        """The same with a row for each subset, the mean of its runs: rows that are independent."""
        groups, first, places = np.unique(self.groups, return_index=True, return_inverse=True)
        if len(groups) == self.runs:
            return self
        totals = np.zeros((len(groups), self.outputs.shape[1]))
        np.add.at(totals, places, self.outputs)
        means = (totals / np.bincount(places)[:, None]).astype(np.float32)
        return replace(self, subsets=self.subsets[first], outputs=means, groups=groups)


def read_outputs(
    store: Store,
    ratio: float | None = None,
    tests: slice | npt.ArrayLike = slice(None),
    epoch: int | None = None,
    output: TestOutput | None = None,
) -> RatioOutputs:
    """The runs of one ratio (None: see `select_ratio`) at a recorded epoch (None: the last), and an output of them.

    `output` None stands for margins where the store has them, else for correctness, as 0 and 1.

    `tests` selects test examples: a slice, ids, or a mask of length T. Holds runs x (N + 4 len(tests)) bytes. Raises
    EstimateError for an output that is not recorded, for a ratio, an epoch or a test example that the store does not
    have and where subsets are explicit, DamagedFileError for an unreadable file.
    """
    check_random_subsets(store)
    ratio_ppm = select_ratio(store, ratio)
    header = store.header
    chosen = chosen_tests(tests, header.num_test)
    if output is None:
        output = "margin" if OutputColumn("margin", "test") in output_columns(header.record) else "correctness"
    column = "test_correct" if output == "correctness" else recorded_output(store, output, "test")
    subsets = [np.zeros((0, header.num_train), dtype=bool)]
    outputs = [np.zeros((0, len(chosen)), dtype=np.float32)]
    groups = [np.zeros(0, dtype=np.int64)]
    diverged, not_finite, saturated, last_epoch = 0, 0, 0, 0
    for rows in scan_epoch(store, ("repetition", "subset", column), ratio_ppm, epoch):
        values = store.vectors(rows.shard, rows.table, column)[:, chosen].astype(np.float32)
        finite: Bools = np.asarray(np.isfinite(values).all(axis=1))
        subsets.append(store.bits(rows.shard, rows.table, "subset")[rows.used & finite])
        outputs.append(values[rows.used & finite])
        groups.append(groups_of_rows(store, rows)[finite[rows.used]])
        diverged += rows.diverged
        last_epoch = max(last_epoch, *rows.epochs[rows.used & finite].tolist(), 0)
        not_finite += int((rows.used & ~finite).sum())
        saturated += int((np.abs(values[rows.used & finite]) >= MAX_FLOAT16).sum())
    return RatioOutputs(
        ratio_ppm=ratio_ppm,
        output=output,
        epoch=last_epoch or None,
        diverged=diverged,
        not_finite=not_finite,
        saturated=saturated,
        labels=read_labels(store),
        tests=chosen,
        subsets=np.concatenate(subsets),
        outputs=np.concatenate(outputs),
        groups=np.concatenate(groups),
    )
