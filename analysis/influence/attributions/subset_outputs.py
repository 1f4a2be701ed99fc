"""The truth that attributions are scored by: outputs of test examples by training subset and seed."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from analysis.reading.outputs import RatioOutputs
from workers.common.arrays import Bools, Floats
from workers.common.whole_file import replace_file
from workers.errors import NoEstimateError

MIN_SUBSETS = 10


@dataclass(frozen=True)
class SubsetOutputs:
    """`subsets` bool[S, N]; `outputs` float64[S, m, T], of m runs of each; subsets that lack one of their runs are
    left out (`incomplete`)."""

    source: RatioOutputs
    subsets: Bools
    outputs: Floats
    incomplete: int = 0

    @property
    def seeds(self) -> int:
        """m, the runs of each subset."""
        return int(self.outputs.shape[1])

    @property
    def means(self) -> Floats:
        """float64[S, T], the mean output over the runs of each subset."""
        return np.asarray(self.outputs.mean(axis=1))

    def of(self, places: npt.NDArray[np.int64]) -> "SubsetOutputs":
        """The same of some of the subsets."""
        return SubsetOutputs(self.source, self.subsets[places], self.outputs[places], self.incomplete)

    def write_ground_truth(self, path: str | Path) -> None:
        """Write the truth in the form that `dattri.metric.lds` takes, as an .npz file: whole, or not at all.

        Arrays `target_values` float32[S, T], means over the runs of each subset; `subset_indices` int64[S, size], the
        ids of its training examples; `test_example_ids` int64[T]. Raises NoEstimateError where sizes differ.
        """
        sizes = self.subsets.sum(axis=1)
        if (sizes != sizes[0]).any():
            raise NoEstimateError(
                f"subsets of {sizes.min():,} to {sizes.max():,} examples: dattri's form needs subsets of one size"
            )
        indices = np.nonzero(self.subsets)[1].reshape(len(self.subsets), -1)
        values = self.means.astype(np.float32)

        def write(unfinished: Path) -> None:
            with unfinished.open("wb") as file:
                np.savez(file, target_values=values, subset_indices=indices, test_example_ids=self.source.tests)

        replace_file(Path(path), write)


def by_subset(source: RatioOutputs) -> SubsetOutputs:
    """The runs of one ratio by subset. Raises NoEstimateError for fewer than MIN_SUBSETS complete subsets."""
    groups, first, places, counts = np.unique(source.groups, return_index=True, return_inverse=True, return_counts=True)
    complete = counts == counts.max(initial=0)
    if complete.sum() < MIN_SUBSETS:
        raise NoEstimateError(
            f"attributions at ratio {source.ratio:g} are scored on at least {MIN_SUBSETS} subsets whose runs are all "
            f"there, got {int(complete.sum())}"
        )
    order = np.argsort(places, kind="stable")
    rows = order[complete[places[order]]].reshape(int(complete.sum()), -1)
    outputs = source.outputs[rows].astype(np.float64)
    return SubsetOutputs(source, source.subsets[first[complete]], outputs, int(len(groups) - complete.sum()))
