"""High-influence pairs: a memorized training example that a test example of its class depends on.

V. Feldman and C. Zhang (NeurIPS 2020) select, for MNIST, CIFAR-100 and ImageNet, the pairs of a training example i and
a test example z of the same class with

    infl(i, z) >= 0.15    and    mem(i) >= 0.25

Such pairs are the paper's evidence that memorizing helps: the training set's long tail serves that of the test set.
"""

import numpy as np
import pandas as pd

from analysis.estimators.memorization import estimate_memorization
from analysis.influence.estimator import COLUMNS as INFLUENCE_COLUMNS
from analysis.influence.estimator import pairs_above, pairs_frame
from analysis.influence.pair_options import DEFAULTS, PairOptions
from analysis.reading.bits import pack_runs
from analysis.reading.counts import count_runs
from analysis.reading.selection import select_ratio
from workers.campaign.campaign import PPM
from workers.store import Store

COLUMNS = (*INFLUENCE_COLUMNS, "mem")


def influential_pairs(
    store: Store,
    ratio: float | None = None,
    *,
    min_infl: float = 0.15,
    min_mem: float = 0.25,
    same_class: bool = True,
    epoch: int | None = None,
    options: PairOptions = DEFAULTS,
) -> pd.DataFrame:
    """The pairs with infl >= min_infl and mem >= min_mem, with COLUMNS, sorted as `influence_pairs`.

    What rests on an empty group is left out, unless `options.empty` gives it a value. `same_class` keeps those whose
    test label equals the training example's given label, the one that the models saw. Ratio None stands for the
    store's only one. Raises EstimateError as `pack_runs` and `influence_pairs`.
    """
    ratio_ppm = select_ratio(store, ratio)
    bits = pack_runs(store, ratio_ppm / PPM, epoch)
    counts = count_runs(store, ratio_ppm / PPM, epoch)
    mem = estimate_memorization(counts, empty=options.empty_in_lists)["mem"].to_numpy()
    # Influence is computed for the memorized examples alone: they are few.
    memorized = np.flatnonzero(mem >= min_mem).astype(np.int64)
    pairs = pairs_above(bits, memorized, min_infl, options)
    if same_class:
        pairs = pairs.take(bits.labels.test_label[pairs.tests] == bits.labels.given_label[pairs.examples])
    return pairs_frame(bits, pairs, options).assign(mem=mem[pairs.examples])
