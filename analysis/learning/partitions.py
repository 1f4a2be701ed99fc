"""Accuracy of the partitions of a curriculum, epoch after epoch: what training on one does to the others.

With the examples P_kp of partition p in run k, and the correctness c_ke of an evaluation at the end of epoch e,

    a_k(p, e) = mean_{i in P_kp} c_ke(i)      accuracy(p, e) = mean_k a_k(p, e)      se = sd_k a_k(p, e) / sqrt(runs)

M. Toneva et al., "An empirical study of example forgetting during deep neural network learning", ICLR 2019, train on
two halves of a data set in turn. Limits are those of a mean of values from 0 to 1 over runs
(`analysis.statistics.run_means`).
"""

import numpy as np
import pandas as pd

from analysis.reading.sequences import no_run_error, scan_sequences
from analysis.statistics.intervals import CONFIDENCE, check_confidence
from analysis.statistics.moments import RunMoments
from analysis.statistics.run_means import bounded_interval
from workers.campaign.campaign import PPM, Campaign
from workers.common.arrays import Integers
from workers.errors import EstimateError
from workers.store import Store
from workers.subsets.partitions import draw_partitions

COLUMNS = ("ratio", "partition", "epoch", "trained", "examples", "runs", "accuracy", "sd", "se", "low", "high")


def partition_curves(store: Store, ratio: float | None = None, *, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """One row per ratio (None: every committed one), partition (from 1) and recorded epoch, with COLUMNS.

    `trained`: the epoch showed this partition. `examples` is the size of a run's partition (the smallest of several),
    `accuracy` the share of it that a run predicts right after the epoch, averaged over the `runs` that did not diverge;
    `sd` is over runs, and so are `se` and the limits `low` and `high`, `se` NaN under two runs. Raises EstimateError
    where the campaign has no curriculum, as `scan_sequences`, where no run is left, and for a bad `confidence`.
    """
    check_confidence(confidence)
    campaign = store.header.campaign
    curriculum = campaign.recipe.curriculum if isinstance(campaign, Campaign) else None
    if not isinstance(campaign, Campaign) or curriculum is None:
        raise EstimateError(f"{store.uri}: has no partitions: the campaign has no recipe.curriculum")
    scores = store.curriculum_scores()
    moments: dict[int, RunMoments] = {}
    sizes: dict[int, Integers] = {}
    epochs: Integers = np.zeros(0, dtype=np.int64)
    for sequence in scan_sequences(store, "evaluations", ratio):
        run, epochs = sequence.run, sequence.epochs
        partitions = draw_partitions(campaign, run, sequence.seen[0], scores)
        members = np.equal(partitions[:, None], np.arange(curriculum.partitions))
        size = members.sum(axis=0)
        # Counts under 2^24 are exact in float32.
        right = sequence.correct.astype(np.float32) @ members.astype(np.float32)
        if run.ratio_ppm not in moments:
            moments[run.ratio_ppm] = RunMoments(right.shape)
        sizes[run.ratio_ppm] = np.minimum(size, sizes.get(run.ratio_ppm, size))
        moments[run.ratio_ppm].add(right.astype(np.float64) / size, sequence.group)
    if not moments:
        raise no_run_error(store)
    shown = np.array([curriculum.partition_of(int(epoch) - 1) for epoch in epochs])
    frames = [
        _frame(ratio_ppm / PPM, epochs, shown, sizes[ratio_ppm], moment, confidence)
        for ratio_ppm, moment in sorted(moments.items())
    ]
    return pd.concat(frames, ignore_index=True)


def _frame(
    ratio: float, epochs: Integers, shown: Integers, sizes: Integers, moments: RunMoments, confidence: float
) -> pd.DataFrame:
    """The rows of a ratio; moments are [E, P], `shown` int64[E] the partition of each epoch."""
    parts = np.arange(len(sizes))
    low, high = bounded_interval(moments.mean, moments.sd, moments.units, (0.0, 1.0), confidence)
    columns = {"runs": moments.n, "accuracy": moments.mean, "sd": moments.sd, "se": moments.se, "low": low}
    columns |= {"high": high, "trained": np.equal(shown[:, None], parts)}
    frame = pd.DataFrame({name: values.T.ravel() for name, values in columns.items()})
    keys = {"partition": np.repeat(parts + 1, len(epochs)), "epoch": np.tile(epochs, len(parts))}
    return frame.assign(ratio=ratio, examples=np.repeat(sizes, len(epochs)), **keys)[list(COLUMNS)]
