"""Suspects: the examples whose given label is most likely wrong, where true labels are unknown.

They are ranked by one score, the first of ORDER that the store has; equal scores by the next one, and all others stand
beside. A mean rank over scores would give a vote to each of a dozen scores of which most are one measurement looked at
twice, and to the weak ones as much as to the strong.

The order follows the average precision with which wrong labels were found on digits and MNIST, 5% and 20% of them wrong
(`analysis.scoring.noise`). What training makes of an example while it shows it, from the finest value to the coarsest,
needs few runs, as every epoch of every run is a look at it. The C-score asks models that never saw the label: as good
with hundreds of runs, but of a dozen runs it is too coarse to tell examples apart. Memorization finds only those that
models came to fit, so it comes late; a large probability may be that of another class; densities look at one model or
none. Variability is low for wrong labels, which models are surely wrong on. The number of units to flip a prediction is
known of a sample of examples alone: it ranks them only where it is requested.
"""

import numpy as np
import pandas as pd

from analysis.reading.predictions import HeldOutPredictions
from analysis.scoring.example_scores import NAMES, ExampleScore, StoreScores
from workers.errors import EstimateError

ORDER = (
    *("loss", "probability", "aum", "accuracy", "cscore", "learning_epoch", "forgettability", "el2n", "second_split"),
    *("mem", "max_probability", "variability", "hidden_density_same", "hidden_density_relative"),
    *("input_density_same", "input_density_relative", "hidden_density", "input_density"),
)


def rank_suspects(
    store_scores: StoreScores, by: str | None = None, predictions: HeldOutPredictions | None = None
) -> pd.DataFrame:
    """One row per example with a value of the score `by` (None: the first of ORDER there is), most suspicious first.

    rank (from 1; equal scores share the lowest, and are in the order of the next score of ORDER), example_id, label,
    given_label, and each score that the store has with its standard error (NAME_se, where it has one): at the largest
    of its ratios, so read `store_scores` at the requested one. With `predictions` also predicted_label, the class that
    most models predict that did not train on the example (-1: none), the share of them, and their number
    (predicted_share, predicted_runs): a suggestion for its label. Raises EstimateError for a score that the
    store does not have, or where it has none.
    """
    chosen = chosen_score(store_scores, by)
    available = [score for name in NAMES if (score := store_scores.latest(name)) is not None]
    frame = store_scores.labels.columns()
    if predictions is not None:
        frame = frame.assign(
            predicted_label=predictions.label, predicted_share=predictions.share, predicted_runs=predictions.runs
        )
    for score in available:
        frame[score.name] = score.values
        if score.se is not None:
            frame[f"{score.name}_se"] = score.se
    irregularity = pd.Series(chosen.irregularity)
    frame.insert(0, "rank", irregularity.rank(method="min", ascending=False))
    others = [score for name in ORDER if name != chosen.name and (score := store_scores.latest(name)) is not None]
    ties = -others[0].irregularity if others else np.zeros(len(frame))
    frame = frame.assign(ties=ties)[irregularity.notna()]
    frame = frame.sort_values(["rank", "ties", "example_id"], ignore_index=True).drop(columns="ties")
    return frame.assign(rank=frame["rank"].astype(np.int64))


def chosen_score(store_scores: StoreScores, by: str | None = None) -> ExampleScore:
    """The score that suspects are ranked by: as requested, or the first of ORDER. Raises as `rank_suspects`."""
    if by is not None and by not in NAMES:
        raise EstimateError(f"by must be one of {', '.join(NAMES)}, got {by!r}")
    there = [name for name in ORDER if store_scores.latest(name) is not None]
    if not there and (by is None or store_scores.latest(by) is None):
        store_scores.counts.check_some_run(store_scores.source)
        raise EstimateError(
            f"{store_scores.source}: has no score of its examples: all ratios are 1, and record.presentations is False"
        )
    score = store_scores.latest(by or there[0])
    if score is None:
        raise EstimateError(f"{store_scores.source}: by must be one of {', '.join(there)} (those it has), got {by!r}")
    return score
