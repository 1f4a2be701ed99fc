"""Partitions of a run's subset, which take turns in training: see `workers.campaign.curriculum`.

They are drawn from raw bits of PCG64, which NumPy promises not to change, so that readers of a store draw those that
the run was trained on.
"""

import numpy as np

from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run
from workers.common.arrays import Bools, Floats, Integers
from workers.subsets.draw import Purpose, generator


def draw_partitions(campaign: Campaign, run: Run, subset: Bools, scores: Floats | None = None) -> Integers:
    """int64[N], the partition (from 0) of each example of a run's subset, bool[N]; -1 for the others.

    Of m examples partition p of P has those at places in the order from p m / P on, the first m mod P partitions one
    more than the others. The order is that of the scores, float64[N], equal ones at random; without scores all are.
    Raises ValueError where the campaign has no curriculum, and where its curriculum has scores and none are given.
    """
    curriculum = campaign.recipe.curriculum
    if curriculum is None or (curriculum.scores is not None) != (scores is not None):
        raise ValueError("partitions need recipe.curriculum, and its scores if it has any")
    members = subset.nonzero()[0]
    keys = generator(campaign, Purpose.PARTITION, run).bit_generator.random_raw(len(members))
    order = np.lexsort((keys,) if scores is None else (keys, scores[members]))
    partitions = np.full(len(subset), -1, dtype=np.int64)
    for place, part in enumerate(np.array_split(members[order], curriculum.partitions)):
        partitions[part] = place
    return partitions
