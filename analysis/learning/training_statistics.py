"""Training statistics: what training itself made of each example, averaged over its presentations.

For run k, which showed example i at the epochs T_ik, and a value v of that presentation (the label's probability, the
largest probability, the loss),

    v_k(i) = mean_{t in T_ik} v_kt(i)        v(i) = mean_k v_k(i)        SE = sd_k v_k(i) / sqrt(runs)

Z. Jiang et al., "Characterizing structural regularities of labeled data in overparameterized models", ICML 2021,
average such values over the epochs of one training as proxies of the C-score. The label is the given one. A
presentation whose logits are not finite has no value.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.reading.examples import Labels, read_labels
from analysis.reading.sequences import RunSequence, scan_sequences
from analysis.statistics.means import Floats
from analysis.statistics.moments import RunMoments
from workers.campaign import PARTS
from workers.store import Store

STATISTICS = {
    "probability": "presented_probability",
    "max_probability": "presented_max_probability",
    "loss": "presented_loss",
}
"""The names of the statistics, and the columns of results that they average."""

COLUMNS = (
    *("ratio", "example_id", "label", "given_label", "n_runs"),
    *(column for name in STATISTICS for column in (name, f"{name}_se")),
)


def estimate_training_statistics(store: Store, ratio: float | None = None) -> pd.DataFrame:
    """One row per ratio (None: every committed one) and example, with COLUMNS.

    `n_runs` showed the example at least once; values are NaN where none did, standard errors where fewer than two did.
    Ratios whose runs all diverged have no rows. Raises EstimateError where the campaign does not record probabilities
    and for a ratio that has no committed run, DamagedFileError for an unreadable file.
    """
    labels = read_labels(store)
    moments: dict[int, dict[str, RunMoments]] = {}
    for sequence in scan_sequences(store, "presentations", ratio, tuple(STATISTICS.values())):
        parts = sequence.run.parts
        if parts not in moments:
            moments[parts] = {name: RunMoments((labels.num_train,)) for name in STATISTICS}
        for name, column in STATISTICS.items():
            moments[parts][name].add(_over_presentations(sequence, column))
    frames = [_frame(labels, parts / PARTS, at) for parts, at in sorted(moments.items())]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(COLUMNS))


def _over_presentations(sequence: RunSequence, column: str) -> Floats:
    """float64[N], NaN where the run never showed the example."""
    values: npt.NDArray[np.float32] = sequence.values[column].astype(np.float32)
    some = ~np.isnan(values)
    count = some.sum(axis=0)
    total = np.where(some, values, 0).sum(axis=0, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _frame(labels: Labels, ratio: float, moments: dict[str, RunMoments]) -> pd.DataFrame:
    values = {name: at.mean for name, at in moments.items()}
    errors = {f"{name}_se": at.se for name, at in moments.items()}
    columns = labels.columns().assign(ratio=ratio, n_runs=moments["loss"].n, **values, **errors)
    return columns[list(COLUMNS)]
