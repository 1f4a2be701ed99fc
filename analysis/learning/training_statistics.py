"""Training statistics: label probability, confidence and loss of each example, averaged over its presentations.

For run k, which showed example i at the epochs T_ik, and a value v of that presentation (the label's probability, the
largest probability, the loss),

    v_k(i) = mean_{t in T_ik} v_kt(i)        v(i) = mean_k v_k(i)        SE = sd_k v_k(i) / sqrt(runs)

Z. Jiang et al., "Characterizing structural regularities of labeled data in overparameterized models", ICML 2021,
average such values over the epochs of one training as proxies of the C-score. The label is the given one. A
presentation whose logits are not finite has no value. Losses are recorded as float16, those over 65,504 as that: where
an example has such presentations, its loss is a lower bound, and `n_saturated` counts them.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.reading.examples import Labels, read_labels
from analysis.reading.sequences import RunSequence, scan_sequences
from analysis.statistics.moments import RunMoments
from workers.campaign.campaign import PPM
from workers.campaign.keys import Run
from workers.common.arrays import Floats
from workers.store import Store
from workers.store.schema import MAX_FLOAT16

STATISTICS = {
    "probability": "presented_probability",
    "max_probability": "presented_max_probability",
    "loss": "presented_loss",
}
"""The names of the statistics, and the columns of results that they average."""

OnRunStatistic = Callable[[Run, str, Floats], None]
"""Called with each run, a statistic's name and its float64[N], NaN where the run never showed the example."""

COLUMNS = (
    *("ratio", "example_id", "label", "given_label", "n_runs", "n_saturated"),
    *(column for name in STATISTICS for column in (name, f"{name}_se")),
)


def estimate_training_statistics(
    store: Store, ratio: float | None = None, observe: OnRunStatistic | None = None
) -> pd.DataFrame:
    """One row per ratio (None: every committed one) and example, with COLUMNS.

    `n_runs` showed the example at least once; `n_saturated` presentations had a loss of at least 65,504; values are
    NaN where none did, standard errors where fewer than two did. Ratios whose runs all diverged have no rows. Raises
    EstimateError where the campaign does not record probabilities and for a ratio that has no committed run,
    DamagedFileError for an unreadable file.
    """
    labels = read_labels(store)
    moments: dict[int, dict[str, RunMoments]] = {}
    saturated: dict[int, npt.NDArray[np.int64]] = {}
    for sequence in scan_sequences(store, "presentations", ratio, tuple(STATISTICS.values())):
        ratio_ppm = sequence.run.ratio_ppm
        if ratio_ppm not in moments:
            moments[ratio_ppm] = {name: RunMoments((labels.num_train,)) for name in STATISTICS}
            saturated[ratio_ppm] = np.zeros(labels.num_train, dtype=np.int64)
        saturated[ratio_ppm] += (sequence.values[STATISTICS["loss"]] >= MAX_FLOAT16).sum(axis=0)
        for name, column in STATISTICS.items():
            values = _over_presentations(sequence, column)
            moments[ratio_ppm][name].add(values, sequence.group)
            if observe is not None:
                observe(sequence.run, name, values)
    frames = [
        _frame(labels, ratio_ppm / PPM, moment, saturated[ratio_ppm]) for ratio_ppm, moment in sorted(moments.items())
    ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(COLUMNS))


def _over_presentations(sequence: RunSequence, column: str) -> Floats:
    """float64[N], NaN where the run never showed the example; of values up to 65,504, the most that workers record."""
    values: npt.NDArray[np.float32] = np.minimum(sequence.values[column].astype(np.float32), MAX_FLOAT16)
    some = ~np.isnan(values)
    count = some.sum(axis=0)
    total = np.where(some, values, 0).sum(axis=0, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _frame(
    labels: Labels, ratio: float, moments: dict[str, RunMoments], saturated: npt.NDArray[np.int64]
) -> pd.DataFrame:
    values = {name: moment.mean for name, moment in moments.items()}
    errors = {f"{name}_se": moment.se for name, moment in moments.items()}
    columns = labels.columns().assign(ratio=ratio, n_runs=moments["loss"].n, n_saturated=saturated, **values, **errors)
    return columns[list(COLUMNS)]
