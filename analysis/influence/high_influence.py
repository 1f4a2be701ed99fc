"""High-influence pairs: a memorized training example that a test example of its class depends on.

V. Feldman and C. Zhang (NeurIPS 2020) select, for MNIST, CIFAR-100 and ImageNet, the pairs of a training example i and
a test example z of the same class with

    infl(i, z) >= 0.15    and    mem(i) >= 0.25

Such pairs are the paper's evidence that memorizing helps: the training set's long tail serves that of the test set.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.estimators.memorization import estimate_memorization
from analysis.influence.estimator import COLUMNS as INFLUENCE_COLUMNS
from analysis.influence.estimator import pairs_above, pairs_frame
from analysis.influence.pair_counter import pair_families
from analysis.influence.pair_options import DEFAULTS, PairOptions
from analysis.influence.pairs import Pairs
from analysis.reading.bits import RatioBits, pack_runs
from analysis.reading.counts import count_runs
from analysis.reading.selection import select_ratio
from workers.campaign.campaign import PPM
from workers.common.arrays import Bools, Floats
from workers.store import Store

COLUMNS = (*INFLUENCE_COLUMNS, "mem")


@dataclass(frozen=True)
class PairSelection:
    """Which pairs are selected: those with infl >= min_infl, mem >= min_mem (None: whatever it is), of one class."""

    min_infl: float = 0.15
    min_mem: float | None = 0.25
    same_class: bool = True

    def memorized(self, mem: Floats) -> Bools:
        """bool[..., N]: the training examples whose mem (float64[..., N], NaN for none) suffices."""
        return np.ones(mem.shape, dtype=bool) if self.min_mem is None else mem >= self.min_mem


PUBLISHED = PairSelection()


def influential_pairs(
    store: Store,
    ratio: float | None = None,
    *,
    min_infl: float = PUBLISHED.min_infl,
    min_mem: float | None = PUBLISHED.min_mem,
    same_class: bool = PUBLISHED.same_class,
    epoch: int | None = None,
    options: PairOptions = DEFAULTS,
) -> pd.DataFrame:
    """The pairs with infl >= min_infl and mem >= min_mem, with COLUMNS, sorted as `influence_pairs`.

    What rests on an empty group is left out, unless `options.empty` gives it a value. `same_class` keeps those whose
    test label equals the training example's given label, the one that the models saw; `min_mem` None keeps pairs
    whatever their mem. Ratio None: see `select_ratio`. Raises EstimateError as `pack_runs` and
    `influence_pairs`.
    """
    ratio_ppm = select_ratio(store, ratio)
    bits = pack_runs(store, ratio_ppm / PPM, epoch)
    counts = count_runs(store, ratio_ppm / PPM, epoch)
    mem = estimate_memorization(counts, empty=options.empty_in_lists)["mem"].to_numpy()
    pairs = select_pairs(bits, mem, PairSelection(min_infl, min_mem, same_class), options)
    return pairs_frame(bits, pairs, options).assign(mem=mem[pairs.examples])


def select_pairs(bits: RatioBits, mem: Floats, selection: PairSelection, options: PairOptions = DEFAULTS) -> Pairs:
    """The ranked pairs of a selection, from the mem of each training example, float64[N]. Raises as `pairs_above`."""
    # Influence is computed for the memorized examples alone: they are few.
    memorized = np.flatnonzero(selection.memorized(mem)).astype(np.int64)
    families = pair_families(bits, memorized, selection.same_class)
    return pairs_above(bits, families, selection.min_infl, options)
