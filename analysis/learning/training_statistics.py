"""Training statistics: what an example's presentations come to, averaged over runs.

For run k, which showed example i at the epochs T_ik, and a value v of that presentation (the margin, the label's
probability, the largest probability, the loss),

    v_k(i) = mean_{t in T_ik} v_kt(i)        v(i) = mean_k v_k(i)        SE = sd_k v_k(i) / sqrt(runs)

    aum              v the margin: the area under the margin (G. Pleiss et al., NeurIPS 2020)
    probability      v the label's probability: confidence in dataset cartography (S. Swayamdipta et al., EMNLP 2020)
    variability      the standard deviation over T_ik of the label's probability, in place of the mean (same paper)
    max_probability  v the largest probability
    loss             v the loss; times the presentations it is the cumulative loss (D. Ravikumar et al., ICML 2025)
    el2n             the norm of softmax - onehot(label) early in training (M. Paul et al., NeurIPS 2021)

Z. Jiang et al., "Characterizing structural regularities of labeled data in overparameterized models", ICML 2021,
average such values over the epochs of one training as proxies of the C-score. The label is the given one. A
presentation whose logits are not finite has no value. Losses are recorded as float16, those over 65,504 as that: where
an example has such presentations, its loss is a lower bound, and `n_saturated` counts them.

They are computed from values of each presentation where those are recorded (`record.probabilities`,
`record.presented_margin`), else read as workers summed them (`record.training_statistics`, see
`workers.store.training_statistics`).
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.reading.examples import Labels, read_labels
from analysis.reading.selection import scan_epoch, select_ratios
from analysis.reading.sequences import scan_sequences
from analysis.reading.subset_groups import shared_subset
from analysis.statistics.moments import RunMoments
from workers.campaign.campaign import PPM
from workers.campaign.keys import Run
from workers.campaign.record import Record
from workers.common.arrays import Floats
from workers.errors import EstimateError
from workers.store import Store
from workers.store.schema import MAX_FLOAT16, presentation_columns
from workers.store.training_statistics import statistic_columns

_LOSS = "presented_loss"
PRESENTED_COLUMNS = {
    "aum": "presented_margin",
    "probability": "presented_probability",
    "variability": "presented_probability",
    "max_probability": "presented_max_probability",
    "loss": _LOSS,
}
"""The statistics that follow from values of each presentation, and their columns of results."""

SUMMED_COLUMNS = {
    "aum": "mean_margin",
    "probability": "mean_probability",
    "variability": "sd_probability",
    "loss": "mean_loss",
    "el2n": "el2n",
}
"""The statistics that workers sum, and their columns of results."""

STATISTICS = (*PRESENTED_COLUMNS, "el2n")
"""All, in the order of tables."""

OnRunStatistic = Callable[[Run, str, Floats], None]
"""Called with each run, a statistic's name and its float64[N], NaN where the run never showed the example."""

KEYS = ("ratio", "example_id", "label", "given_label", "n_runs", "n_saturated")


def recorded_statistics(record: Record) -> tuple[str, ...]:
    """The names of the statistics that a campaign's records allow, in the order of STATISTICS."""
    presented, summed = presentation_columns(record), statistic_columns(record)
    return tuple(
        name for name in STATISTICS if PRESENTED_COLUMNS.get(name) in presented or SUMMED_COLUMNS.get(name) in summed
    )


def estimate_training_statistics(
    store: Store, ratio: float | None = None, observe: OnRunStatistic | None = None
) -> pd.DataFrame:
    """One row per ratio (None: every committed one) and example: KEYS, and each of `recorded_statistics` with NAME_se.

    `n_runs` showed the example at least once; `n_saturated` presentations had a loss of at least 65,504 (0 where losses
    are not recorded one by one); values are NaN where none did, standard errors where fewer than two did. Ratios whose
    runs all diverged have no rows. Raises EstimateError where the campaign records no statistic and for a ratio that
    has no committed run, DamagedFileError for an unreadable file.
    """
    names = recorded_statistics(store.header.record)
    if not names:
        raise EstimateError(
            f"{store.uri}: has no training statistics: record.training_statistics, record.probabilities or "
            "record.presented_margin must be true"
        )
    labels = read_labels(store)
    moments: dict[int, dict[str, RunMoments]] = {}
    saturated: dict[int, npt.NDArray[np.int64]] = {}
    for run, statistics, of_run in _scan(store, ratio, names):
        if run.ratio_ppm not in moments:
            moments[run.ratio_ppm] = {name: RunMoments((labels.num_train,)) for name in names}
            saturated[run.ratio_ppm] = np.zeros(labels.num_train, dtype=np.int64)
        saturated[run.ratio_ppm] += of_run
        for name, values in statistics.items():
            moments[run.ratio_ppm][name].add(values, shared_subset(store, run.repetition))
            if observe is not None:
                observe(run, name, values)
    columns = (*KEYS, *(column for name in names for column in (name, f"{name}_se")))
    frames = [
        _frame(labels, ratio_ppm / PPM, moment, saturated[ratio_ppm])[list(columns)]
        for ratio_ppm, moment in sorted(moments.items())
    ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(columns))


_RunStatistics = tuple[Run, Mapping[str, Floats], npt.NDArray[np.int64]]
"""A run, its statistics float64[N] by name, and its saturated losses int64[N]."""


def _scan(store: Store, ratio: float | None, names: tuple[str, ...]) -> Iterator[_RunStatistics]:
    recorded = presentation_columns(store.header.record)
    presented = {name: column for name, column in PRESENTED_COLUMNS.items() if column in recorded}
    if presented:
        yield from _from_presentations(store, ratio, presented)
    summed = {name: SUMMED_COLUMNS[name] for name in names if name not in presented}
    if summed:
        yield from _from_sums(store, ratio, summed)


def _from_presentations(store: Store, ratio: float | None, presented: Mapping[str, str]) -> Iterator[_RunStatistics]:
    for sequence in scan_sequences(store, "presentations", ratio, tuple(dict.fromkeys(presented.values()))):
        values = {
            name: (sd_over_presentations if name == "variability" else mean_over_presentations)(sequence.values[column])
            for name, column in presented.items()
        }
        losses = sequence.values.get(_LOSS)
        none = np.zeros(store.header.num_train, dtype=np.int64)
        yield sequence.run, values, none if losses is None else (losses >= MAX_FLOAT16).sum(axis=0)


def _from_sums(store: Store, ratio: float | None, summed: Mapping[str, str]) -> Iterator[_RunStatistics]:
    chosen = select_ratios(store, ratio)
    none = np.zeros(store.header.num_train, dtype=np.int64)
    columns = ("repetition", *summed.values())
    for rows in scan_epoch(store, columns, chosen[0] if len(chosen) == 1 else None, None):
        repetitions = rows.table["repetition"].to_numpy()[rows.used]
        vectors = {name: store.vectors(rows.shard, rows.table, column)[rows.used] for name, column in summed.items()}
        for k, repetition in enumerate(repetitions.tolist()):
            values = {name: vector[k].astype(np.float64) for name, vector in vectors.items()}
            yield Run(rows.shard.ratio_ppm, repetition), values, none


def mean_over_presentations(recorded: npt.NDArray[np.float16]) -> Floats:
    """float64[N] of float16[E, N]: NaN where the run never showed the example; of values up to 65,504."""
    values = np.minimum(recorded.astype(np.float32), MAX_FLOAT16)
    some = ~np.isnan(values)
    count = some.sum(axis=0)
    total = np.where(some, values, 0).sum(axis=0, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def sd_over_presentations(recorded: npt.NDArray[np.float16]) -> Floats:
    """float64[N] of float16[E, N]: the standard deviation, of divisor E; NaN where the run never showed the example."""
    deviations = recorded.astype(np.float64) - mean_over_presentations(recorded)
    some = ~np.isnan(deviations)
    count = some.sum(axis=0)
    squares = np.where(some, deviations, 0.0) ** 2
    return np.where(count > 0, np.sqrt(squares.sum(axis=0) / np.maximum(count, 1)), np.nan)


def _frame(
    labels: Labels, ratio: float, moments: dict[str, RunMoments], saturated: npt.NDArray[np.int64]
) -> pd.DataFrame:
    values = {name: moment.mean for name, moment in moments.items()}
    errors = {f"{name}_se": moment.se for name, moment in moments.items()}
    n_runs = np.max([moment.n for moment in moments.values()], axis=0)
    return labels.columns().assign(ratio=ratio, n_runs=n_runs, n_saturated=saturated, **values, **errors)
