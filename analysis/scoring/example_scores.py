"""All scores of the training examples that a store allows, with the direction in which each means irregular.

Irregular examples are hard to predict from the others: the memorized, the mislabelled, the rare. The scores are

    mem, cscore                              from runs that held the example out, beside those that trained on it
    accuracy, forgettability, learning_epoch from correctness at presentations   (record.presentations)
    probability, variability, loss, aum      from the values at presentations    (record.training_statistics;
                                             record.probabilities; aum: record.presented_margin)
    el2n                                     from an early presentation          (record.training_statistics)
    max_probability                          from the values at presentations    (record.probabilities)
    second_split                             from evaluations of two partitions  (recipe.curriculum, record.epochs)
    input_density..., hidden_density...      from pairwise distances             (`longtail density`)
    units                                    units to flip a prediction          (record.probes.neurons)

`learning_epoch` is the mean over runs of the epoch at which the example was first right; a run of E epochs that never
learned it counts as E + 1, so that it ranks last (`first_learned` leaves such runs out, see
`analysis.learning.forgetting`).

Scores from presentations are in-sample: only runs that trained on the example show it. So with a C-score of the same
campaign they share the models, and no outcome. `units` is the mean over the runs that sampled the example; where the
search ended without a flip it counts one more than the most units that it may take, so that such examples rank last.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from analysis.estimators.consistency import cscore
from analysis.estimators.localization.units import example_units
from analysis.estimators.memorization import estimate_memorization
from analysis.learning.forgetting import Forgetting, estimate_forgetting
from analysis.learning.second_split import has_second_split, second_split_forgetting
from analysis.learning.training_statistics import STATISTICS, estimate_training_statistics, recorded_statistics
from analysis.reading.counts import StoreCounts, count_runs
from analysis.reading.examples import Labels
from analysis.reading.run_groups import RunGroups, group_runs
from analysis.reading.selection import select_ratios
from analysis.scoring.agreement import rounded
from analysis.scoring.grouped_scores import GroupedScores
from workers.campaign.campaign import PPM, Campaign, ratio_to_ppm
from workers.campaign.keys import Run
from workers.common.arrays import Bools, Floats
from workers.errors import NoEstimateError
from workers.store import Store
from workers.store.file_problems import DIVERGENCE_HINT

DENSITIES = tuple(f"{space}_density{kind}" for space in ("input", "hidden") for kind in ("", "_same", "_relative"))
PRESENTED = ("accuracy", *STATISTICS, "forgettability", "learning_epoch", "second_split")
UNITS = "units"
NAMES = ("mem", "cscore", *PRESENTED, *DENSITIES, UNITS)
"""All scores, in the order of tables."""

_HIGH_IS_IRREGULAR = ("mem", "loss", "variability", "el2n", "forgettability", "learning_epoch")
_DENSITY_FILE = pa.schema(
    [
        *((name, pa.int64()) for name in ("example_id", "label", "given_label")),
        *((name, pa.float64()) for name in DENSITIES),
    ]
)


@dataclass(frozen=True)
class ExampleScore:
    """One score of each training example: float64[N] `values`, NaN where there is none.

    `ratio` is NaN where the score belongs to none. `se` is float64[N], None for scores without standard errors.
    `replicates` is float32[g, N], rounded as `irregularity`: the score without each group of runs; None where that was
    not requested, or the score does not rest on the store's runs.
    """

    name: str
    ratio: float
    values: Floats
    se: Floats | None = None
    replicates: npt.NDArray[np.float32] | None = None

    @property
    def high_is_irregular(self) -> bool:
        """Whether irregular examples have high values, not low ones."""
        return self.name in _HIGH_IS_IRREGULAR

    @property
    def irregularity(self) -> Floats:
        """float64[N], rising from the most regular example to the least; equal scores are exactly equal."""
        return rounded(self.values) if self.high_is_irregular else -rounded(self.values)

    @property
    def irregular_replicates(self) -> npt.NDArray[np.float32] | None:
        """float32[g, N]: `irregularity` without each group of runs."""
        if self.replicates is None or self.high_is_irregular:
            return self.replicates
        return -self.replicates

    @property
    def regularity(self) -> Floats:
        """float64[N], rising from the least regular example to the most."""
        return -self.irregularity

    @property
    def regular_name(self) -> str:
        """The name of `regularity`: the score's, or with `negative_` before it."""
        return f"negative_{self.name}" if self.high_is_irregular else self.name


@dataclass(frozen=True)
class StoreScores:
    """The examples' labels and every score that a store has of them, in the order of NAMES, then ascending ratio.

    `source` is the store's path or URI, `counts` the sums behind mem and cscore, at every committed ratio. `saturated`
    counts the examples whose loss is a lower bound, since a presentation's was 65,504 or more.
    """

    source: str
    labels: Labels
    counts: StoreCounts
    scores: tuple[ExampleScore, ...]
    saturated: int = 0

    def named(self, name: str) -> list[ExampleScore]:
        """That score at each ratio, ascending; empty where the store does not allow it."""
        return [score for score in self.scores if score.name == name]

    def latest(self, name: str) -> ExampleScore | None:
        """That score at the largest ratio that has it."""
        named = self.named(name)
        return named[-1] if named else None


def read_example_scores(
    store: Store, ratio: float | None = None, *, replicates: bool = False, selections: Bools | None = None
) -> StoreScores:
    """Every score at one ratio or at each committed one (cscore: always over all ratios under 1).

    With `replicates`, also those without each group of runs (`analysis.reading.run_groups`), in the same passes: 4 g N
    bytes a score; with `selections` bool[s, g], those of each selection of groups in their place. Raises EstimateError
    for a ratio that has no committed run, or whose runs all diverged; DamagedFileError for an unreadable file.
    """
    requested = select_ratios(store, ratio)
    chosen = {ratio_ppm / PPM for ratio_ppm in requested}
    replicates = replicates or selections is not None
    counts = count_runs(store)
    if ratio is not None:
        counts.check_some_run(store.uri, requested[0])
    grouped = GroupedScores(store, selections) if replicates else None
    presented, saturated = _from_presentations(store, ratio, grouped)
    if grouped is not None:
        presented = [replace(score, replicates=_rounded(grouped.replicates(*_key(score)))) for score in presented]
    scores = [*_from_counts(counts, chosen), *presented, *_densities(store), *_units(store, ratio)]
    if replicates:
        scores = _with_replicates(scores, group_runs(store), selections)
    scores.sort(key=lambda score: NAMES.index(score.name))
    return StoreScores(store.uri, counts.labels, counts, tuple(scores), saturated)


def _with_replicates(scores: list[ExampleScore], groups: RunGroups, selections: Bools | None) -> list[ExampleScore]:
    """mem and cscore with theirs."""
    requested = [score for score in scores if score.name in ("mem", "cscore")]
    values: dict[tuple[str, float], list[npt.NDArray[np.float32]]] = {_key(score): [] for score in requested}
    for counts in groups.without_each() if selections is None else groups.over(selections):
        of_group = {_key(score): score.values for score in _from_counts(counts, {score.ratio for score in requested})}
        for key, value in values.items():
            value.append(_rounded(of_group.get(key, np.full(groups.labels.num_train, np.nan))))
    return [
        replace(score, replicates=np.array(values[_key(score)]).reshape(-1, groups.labels.num_train))
        if score.name in ("mem", "cscore")
        else score
        for score in scores
    ]


def _key(score: ExampleScore) -> tuple[str, float]:
    return score.name, -1.0 if np.isnan(score.ratio) else score.ratio


def _rounded(values: Floats) -> npt.NDArray[np.float32]:
    return rounded(values).astype(np.float32)


def largest_ratio(store: Store, ratio: float | None = None) -> float:
    """The ratio requested, or the largest with a run that did not diverge. Raises EstimateError where there is none."""
    committed = [ratio_ppm / PPM for ratio_ppm in select_ratios(store, ratio)]
    if ratio is not None:
        return committed[0]
    for at in reversed(committed):
        statuses = (table["status"].to_pylist() for _, table in store.scan(("status",), ratio_to_ppm(at)))
        if any(status != "diverged" for of_shard in statuses for status in of_shard):
            return at
    raise NoEstimateError(f"{store.uri}: has no run to estimate from, all committed runs diverged ({DIVERGENCE_HINT})")


def _from_counts(counts: StoreCounts, chosen: set[float]) -> list[ExampleScore]:
    """Without ratios that hold nothing out, or whose runs all diverged: nothing is known there."""
    usable = counts.holding_out()
    if not usable.ratios:
        return []
    overall = cscore(usable)
    scores = [ExampleScore("cscore", np.nan, _column(overall, "cscore"), _column(overall, "se"))]
    for ratio in usable.ratios:
        if ratio.ratio in chosen:
            frame = estimate_memorization(StoreCounts(counts.labels, (ratio,)), empty="nan")
            scores.append(ExampleScore("mem", ratio.ratio, _column(frame, "mem"), _column(frame, "se")))
    return scores


def _from_presentations(
    store: Store, ratio: float | None, grouped: GroupedScores | None
) -> tuple[list[ExampleScore], int]:
    """The scores, in `grouped` run by run, and how many examples have a saturated loss."""
    campaign, scores, saturated = store.header.campaign, list[ExampleScore](), 0
    if not isinstance(campaign, Campaign):
        return scores, saturated
    epochs = campaign.recipe.epochs

    def observe(run: Run, name: str, values: Floats) -> None:
        if grouped is not None:
            grouped.observe(run, name, values)

    def observe_forgetting(run: Run, each: Forgetting) -> None:
        if grouped is not None:
            grouped.observe_forgetting(run, each, epochs)

    if campaign.record.presentations:
        for ratio_value, rows in _by_ratio(estimate_forgetting(store, ratio, observe=observe_forgetting)):
            learned, learned_se = _learning_epoch(rows, epochs)
            scores += [
                _estimated("accuracy", ratio_value, rows),
                ExampleScore("forgettability", ratio_value, _column(rows, "forgettability")),
                ExampleScore("learning_epoch", ratio_value, learned, learned_se),
            ]
    if names := recorded_statistics(campaign.record):
        statistics = estimate_training_statistics(store, ratio, observe)
        saturated = statistics.loc[statistics["n_saturated"] > 0, "example_id"].nunique()
        scores += [_estimated(name, at, rows) for at, rows in _by_ratio(statistics) for name in names]
    if has_second_split(store):
        second = second_split_forgetting(store, ratio, lambda run, values: observe(run, "second_split", values))
        scores += [_estimated("second_split", at, rows) for at, rows in _by_ratio(second)]
    return scores, saturated


def _estimated(name: str, ratio: float, rows: pd.DataFrame) -> ExampleScore:
    """A column with its standard errors."""
    return ExampleScore(name, ratio, _column(rows, name), _column(rows, f"{name}_se"))


def _learning_epoch(rows: pd.DataFrame, epochs: int) -> tuple[Floats, Floats]:
    """Mean and standard error of two groups put together: runs that learned the example, and runs that never did."""
    n, learned = _column(rows, "n_runs"), _column(rows, "n_learned")
    mean_learned = np.where(learned > 0, _column(rows, "first_learned"), 0.0)
    never = n - learned
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (learned * mean_learned + never * (epochs + 1)) / n
        within = np.where(learned > 1, learned * (learned - 1) * _column(rows, "first_learned_se") ** 2, 0.0)
        squares = within + learned * (mean_learned - mean) ** 2 + never * (epochs + 1 - mean) ** 2
        return np.where(n > 0, mean, np.nan), np.where(n > 1, np.sqrt(squares / (n - 1) / n), np.nan)


def _densities(store: Store) -> list[ExampleScore]:
    table = store.read_estimate("density", _DENSITY_FILE)
    if table is None:
        return []
    scores = [ExampleScore(name, np.nan, table[name].to_numpy().astype(np.float64)) for name in DENSITIES]
    return [score for score in scores if np.isfinite(score.values).any()]


def _units(store: Store, ratio: float | None) -> list[ExampleScore]:
    """Of the examples that some measured run sampled."""
    steps = next((column for column in store.header.probe_columns if column.name == "probe_neurons_layer"), None)
    if steps is None:
        return []
    try:
        sampled = example_units(store, ratio=ratio)
    except NoEstimateError:
        return []
    sampled = sampled.assign(needed=sampled["units"].where(~sampled["censored"], steps.shape[-1] + 1))
    scores = []
    for ratio_value, rows in _by_ratio(sampled):
        means = rows.groupby("example_id")["needed"].agg(["mean", "sem"]).reindex(range(store.header.num_train))
        scores.append(ExampleScore(UNITS, ratio_value, _column(means, "mean"), _column(means, "sem")))
    return scores


def _by_ratio(frame: pd.DataFrame) -> Iterator[tuple[float, pd.DataFrame]]:
    for ratio in sorted(frame["ratio"].unique().tolist()):
        yield ratio, frame[frame["ratio"] == ratio]


def _column(frame: pd.DataFrame, name: str) -> Floats:
    return frame[name].to_numpy().astype(np.float64)
