"""Second-split forgetting: how long an example of a first partition is remembered while a second one is trained.

A curriculum trains partition 1 for E epochs, then partition 2 for E epochs. Of an example of partition 1 that run k
predicts right at the end of the first turn,

    s_k(i) = the first epoch of the second turn (from 1) from which on every evaluation of that turn is wrong,
             E + 1 where the last one is right

and s(i) = mean_k s_k(i) over the runs where this is known, SE = sd_k s_k(i) / sqrt(runs). P. Maini et al.,
"Characterizing datapoints via second-split forgetting", NeurIPS 2022: mislabelled examples are forgotten quickly. A run
whose partition 1 does not have the example, or that had not learned it, tells nothing. Epochs count in recorded
evaluations, so `record.epochs` should be `all`.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from analysis.reading.examples import read_labels
from analysis.reading.sequences import RunSequence, no_run_error, scan_sequences
from analysis.statistics.moments import RunMoments
from workers.campaign.campaign import PPM, Campaign
from workers.campaign.keys import Run
from workers.common.arrays import Bools, Floats
from workers.errors import EstimateError
from workers.store import Store
from workers.subsets.partitions import draw_partitions

COLUMNS = ("ratio", "example_id", "label", "given_label", "n_runs", "second_split", "second_split_se")

OnRunSecondSplit = Callable[[Run, Floats], None]
"""Called with each run and its float64[N], NaN where it tells nothing."""


def has_second_split(store: Store) -> bool:
    """Whether the end of a first turn and an epoch of the second one were recorded."""
    campaign = store.header.campaign
    curriculum = campaign.recipe.curriculum if isinstance(campaign, Campaign) else None
    if not isinstance(campaign, Campaign) or curriculum is None:
        return False
    recorded = set(campaign.recorded_epochs())
    turn = curriculum.epochs
    return turn in recorded and any(turn < epoch <= 2 * turn for epoch in recorded)


def second_split_forgetting(
    store: Store, ratio: float | None = None, observe: OnRunSecondSplit | None = None
) -> pd.DataFrame:
    """One row per ratio (None: every committed one) and example, with COLUMNS; NaN where no run tells anything.

    Raises EstimateError where the campaign has no curriculum, or its turns' ends are not recorded, as
    `scan_sequences`, and where no run is left.
    """
    campaign = store.header.campaign
    if not isinstance(campaign, Campaign) or campaign.recipe.curriculum is None:
        raise EstimateError(f"{store.uri}: has no partitions: the campaign has no recipe.curriculum")
    if not has_second_split(store):
        raise EstimateError(
            f"{store.uri}: has no second turn that is recorded after the end of the first: record.epochs must be all, "
            f"got {campaign.record.epochs!r}, and recipe.epochs greater than {campaign.recipe.curriculum.epochs}, got "
            f"{campaign.recipe.epochs}"
        )
    labels, scores = read_labels(store), store.curriculum_scores()
    moments: dict[int, RunMoments] = {}
    for sequence in scan_sequences(store, "evaluations", ratio):
        first = draw_partitions(campaign, sequence.run, sequence.seen[0], scores) == 0
        values = forgetting_epochs(sequence, first, campaign.recipe.curriculum.epochs)
        moments.setdefault(sequence.run.ratio_ppm, RunMoments((labels.num_train,))).add(values, sequence.group)
        if observe is not None:
            observe(sequence.run, values)
    if not moments:
        raise no_run_error(store)
    frames = [
        labels.columns().assign(ratio=ppm / PPM, n_runs=each.n, second_split=each.mean, second_split_se=each.se)
        for ppm, each in sorted(moments.items())
    ]
    return pd.concat(frames, ignore_index=True)[list(COLUMNS)]


def forgetting_epochs(sequence: RunSequence, first: Bools, turn: int) -> Floats:
    """s_k of one run, float64[N], of the examples `first` bool[N] that it had learned when its first turn ended."""
    learned = sequence.correct[sequence.epochs == turn][0] & first
    second = (sequence.epochs > turn) & (sequence.epochs <= 2 * turn)
    epochs, correct = sequence.epochs[second] - turn, sequence.correct[second]
    # The place behind the last right evaluation; 0 where none is.
    behind = np.where(correct.any(axis=0), len(correct) - np.argmax(correct[::-1], axis=0), 0)
    return np.where(learned, np.append(epochs, turn + 1)[behind], np.nan)
