"""Misclassification margins at presentations, and their correlation with forgetting events.

The margin of a presentation is the label's logit less the largest other one, before the update; a run's margin of an
example is its mean over the presentations. In run k, over the examples that it was shown,

    r_k = Spearman(margin_k(i), events_k(i))      spearman = mean_k r_k      se = sd_k r_k / sqrt(runs)

with Student's t limits over runs. M. Toneva et al., "An empirical study of example forgetting during deep neural
network learning", ICLR 2019, compare the two in one run: examples that are forgotten often have small margins.
"""

import numpy as np
import pandas as pd

from analysis.learning.forgetting import forgetting_of
from analysis.learning.training_statistics import mean_over_presentations
from analysis.reading.examples import read_labels
from analysis.reading.sequences import no_run_error, scan_sequences
from analysis.reading.subset_groups import check_own_subsets
from analysis.statistics.intervals import CONFIDENCE, check_confidence
from analysis.statistics.moments import RunMoments
from analysis.statistics.run_means import student_quantile
from workers.campaign.campaign import PPM
from workers.common.arrays import Floats
from workers.store import Store
from workers.store.schema import PRESENTED_MARGIN

COLUMNS = ("ratio", "example_id", "label", "given_label", "n_runs", "margin", "margin_se")
CORRELATION_COLUMNS = ("ratio", "runs", "spearman", "sd", "se", "low", "high")


def presented_margins(
    store: Store, ratio: float | None = None, *, confidence: float = CONFIDENCE
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A row per ratio (None: every committed one) and example, with COLUMNS; and per ratio, with CORRELATION_COLUMNS.

    `margin` is an example's mean margin in a run, averaged over the `n_runs` that were shown it. The correlations are
    those with the runs' forgetting events; runs in which one side does not vary have none. Standard errors are over
    runs, NaN under two. Raises EstimateError where the campaign does not record margins at presentations, as
    `scan_sequences`, where no run is left, and for a bad `confidence`.
    """
    check_confidence(confidence)
    check_own_subsets(store, "the correlation of margins and forgetting")
    labels = read_labels(store)
    moments: dict[int, RunMoments] = {}
    found: dict[int, list[float]] = {}
    for sequence in scan_sequences(store, "presentations", ratio, (PRESENTED_MARGIN,)):
        margins = mean_over_presentations(sequence.values[PRESENTED_MARGIN])
        moments.setdefault(sequence.run.ratio_ppm, RunMoments((labels.num_train,))).add(margins)
        r = _spearman(margins, forgetting_of(sequence).events)
        found.setdefault(sequence.run.ratio_ppm, []).extend([] if np.isnan(r) else [r])
    if not moments:
        raise no_run_error(store)
    frames = [
        labels.columns().assign(ratio=ratio_ppm / PPM, n_runs=each.n, margin=each.mean, margin_se=each.se)
        for ratio_ppm, each in sorted(moments.items())
    ]
    rows = [{"ratio": ratio_ppm / PPM, **_over_runs(values, confidence)} for ratio_ppm, values in sorted(found.items())]
    examples = pd.concat(frames, ignore_index=True)[list(COLUMNS)]
    return examples, pd.DataFrame(rows, columns=list(CORRELATION_COLUMNS))


def _spearman(margins: Floats, events: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]") -> float:
    from scipy.stats import spearmanr  # here: a third of a second to import

    shown = ~np.isnan(margins)
    x, y = margins[shown], events[shown]
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.nan
    return float(spearmanr(x, y).statistic)


def _over_runs(values: list[float], confidence: float) -> dict[str, float]:
    n = len(values)
    mean = float(np.mean(values)) if n else np.nan
    sd = float(np.std(values, ddof=1)) if n > 1 else np.nan
    se = sd / np.sqrt(max(n, 1))
    reach = float(student_quantile(confidence, n - 1)) * se if n > 1 else np.nan
    low, high = np.clip((mean - reach, mean + reach), -1, 1).tolist()
    return {"runs": n, "spearman": mean, "sd": sd, "se": se, "low": low, "high": high}
