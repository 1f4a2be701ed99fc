"""The runs of a ratio, whole and without each group of them: what the jackknife of selected pairs is made of.

Run k of those that did not diverge is in group k modulo g, g being the number of runs, at most GROUPS; where runs share
subsets, subset k with all of its runs. Runs that are
left out keep their places with all bits 0, so that a version costs one AND and no packing.
"""

from dataclasses import dataclass

import numpy as np

from analysis.reading.bits import RatioBits
from analysis.reading.halves import PackedRatio, count_half
from analysis.statistics.jackknife import GROUPS
from analysis.statistics.means import mean_difference
from workers.common.arrays import Bools, Floats


@dataclass(frozen=True)
class RunVersions:
    """Version 0 has all runs, version j > 0 those outside of group j - 1; there is version 0 alone under two runs.

    `left_out` is bool[versions, runs], `mem` float64[versions, N], NaN where a version has no run on both sides.
    """

    bits: RatioBits
    left_out: Bools
    mem: Floats

    def __len__(self) -> int:
        return len(self.left_out)


def run_versions(packed: PackedRatio) -> RunVersions:
    """The versions of a ratio's runs, with the mem of each."""
    units = packed.units
    groups = min(GROUPS, units) if units > 1 else 0
    left_out = packed.unit_of_run % max(groups, 1) == np.arange(-1, groups)[:, None]
    mem = np.empty((len(left_out), packed.bits.labels.num_train))
    for version, outside in enumerate(left_out):
        counts = count_half(packed, np.flatnonzero(~outside))
        mem[version] = mean_difference(counts.correct_in, counts.n_in, counts.correct_out, counts.n_out, "nan")
    return RunVersions(packed.bits, left_out, mem)
