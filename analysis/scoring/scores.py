"""One score per training example: an estimate of a store, published scores, or a column of a table."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from analysis.estimators.consistency import cscore
from analysis.estimators.memorization import estimate_memorization
from analysis.learning.forgetting import Forgetting, recorded_at, sum_forgetting
from analysis.reading.counts import StoreCounts, count_runs
from analysis.reading.examples import read_labels
from analysis.reading.run_groups import GroupedMeans, group_runs, number_of_groups
from analysis.reading.selection import check_random_subsets, only_ratio
from workers.campaign.campaign import PPM, Campaign
from workers.campaign.keys import Run
from workers.campaign.plural import count_text
from workers.common.arrays import Floats
from workers.errors import DataError, EstimateError
from workers.store import Store
from workers.store.npz import array_names, read_vectors

Estimate = Literal["memorization", "cscore", "forgetting"]
Source = str | os.PathLike[str] | Store
"""A store, its path or URI, or a file of scores and labels: `FILE.npz` with the arrays `scores` and `labels`, or
`tr_mem` and `tr_labels`; or `FILE:COLUMN` of a Parquet or CSV table with a column `label`."""

_MAX_EXAMPLES = 1 << 27
_LABEL = "label"
_MEMORIZATION = ("tr_labels", "tr_mem")
"""Arrays of Feldman and Zhang's cifar100_infl_matrix.npz, beside others; example i of CIFAR-100 is at place i."""
_TABLE = re.compile(r"(?P<file>.+\.(?:parquet|csv)):(?P<column>[^:/\\]+)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Scores:
    """int64[N] `labels` (the data set's own, not the noisy ones) and float64[N] `values`, NaN where there is none.

    `fingerprint` is that of labels and pixels, None where only the labels are known. `basis` tells what the values
    rest on. `replicates` is float[g, N], the values without each group of runs; None where they were not requested, or
    the runs are not known.
    """

    source: str
    basis: str
    labels: npt.NDArray[np.int64]
    values: Floats
    fingerprint: str | None
    names: pa.Array | None = None
    """N texts, the names of the examples."""
    replicates: npt.NDArray[np.floating] | None = None
    quantity: str = "score"
    """What the values are: an estimate's name, or that of a table's column."""

    def check_same_examples(self, other: "Scores") -> None:
        """Raise EstimateError where the other scores are not of the same examples in the same order."""
        if self.fingerprint is not None and other.fingerprint is not None:
            if self.fingerprint != other.fingerprint:
                prints = f"{other.fingerprint[:12]} and {self.fingerprint[:12]}"
                raise EstimateError(
                    f"{other.source}: was created from a different data set than {self.source} (fingerprints {prints})"
                )
            return
        if len(self.labels) != len(other.labels):
            counts = f"{len(other.labels)} and {len(self.labels)}"
            raise EstimateError(f"{other.source}: has not as many examples as {self.source}, got {counts}")
        wrong = np.flatnonzero(self.labels != other.labels)
        if len(wrong):
            first = f"the first is example {wrong[0]}: {other.labels[wrong[0]]} and {self.labels[wrong[0]]}"
            raise EstimateError(
                f"{other.source}: is of other examples than {self.source}, or in another order: "
                f"{len(wrong)} of {len(self.labels)} labels differ, {first}"
            )


@dataclass(frozen=True)
class UnseenByEncoder:
    """A store whose data set has features of a run, and of its examples those that the run was not trained on.

    The encoder has seen the labels of the others, so they are held out from the head alone.
    """

    store: str | os.PathLike[str] | Store

    def scores(self, estimate: Estimate, ratio: float | None = None, *, replicates: bool = False) -> Scores:
        """As `read_scores`, NaN for the others. Raises EstimateError where the data set has no features of a run."""
        store = self.store if isinstance(self.store, Store) else Store.open(self.store)
        seen = store.seen_by_encoder()
        if seen is None:
            raise EstimateError(f"{store.uri}: has no encoder: its data set must have features of a run")
        scores = read_scores(store, estimate, ratio, replicates=replicates)
        basis = f"{scores.basis}; {count_text(int((~seen).sum()), 'example')} that its encoder has not seen"
        return replace(scores, basis=basis, values=np.where(seen, np.nan, scores.values))


def is_score_file(source: Source) -> bool:
    """Whether a source is a file of scores, by its name, and no store."""
    return is_published(source) or _table_column(source) is not None


def is_published(source: Source) -> bool:
    """Whether a source is an `.npz` file of scores and labels, by its name."""
    return not isinstance(source, Store) and os.fspath(source).lower().endswith(".npz")


def _table_column(source: Source) -> tuple[str, str] | None:
    """The file and the column that a source names; None for other sources."""
    match = None if isinstance(source, Store) else _TABLE.fullmatch(os.fspath(source))
    return None if match is None else (match["file"], match["column"])


def read_scores(source: Source, estimate: Estimate, ratio: float | None = None, *, replicates: bool = False) -> Scores:
    """The estimate of each training example in a store, or the scores in a file, which are taken to be that estimate.

    Memorization is that at one ratio (None: the store's only one), and without a value where a group of runs is empty.
    The C-score is the mean over all ratios, or the consistency at one. Forgetting is the forgettability at one ratio:
    at presentations where the store records them, else at evaluations. With `replicates`, a store's also without each
    group of runs (`analysis.reading.run_groups`). Of a table with several ratios the rows at `ratio` are read. Raises
    EstimateError for an unknown estimate or ratio and for forgetting that is not recorded, StoreError where there is no
    such store, DataError for an `.npz` file of another form, CampaignError for such a table.
    """
    if estimate not in get_args(Estimate):
        raise EstimateError(f"estimate must be one of {', '.join(get_args(Estimate))}, got {estimate!r}")
    if isinstance(source, Store):
        return _of_store(source, estimate, ratio, replicates)
    if is_published(source):
        return replace(_published(Path(source), estimate), quantity=estimate)
    named = _table_column(source)
    if named is not None:
        return _of_table(*named, ratio)
    return _of_store(Store.open(source), estimate, ratio, replicates)


def chosen_estimate(sources: Sequence[Source], estimate: Estimate | None) -> Estimate:
    """None stands for memorization. Raises EstimateError for None where a score file takes part, which does not tell
    what it holds."""
    if estimate is None and any(is_score_file(source) for source in sources):
        raise EstimateError(
            f"estimate must be given with a score file: one of {', '.join(get_args(Estimate))}, got None"
        )
    return estimate or "memorization"


def _of_store(store: Store, estimate: Estimate, ratio: float | None, replicates: bool) -> Scores:
    check_random_subsets(store)
    without: npt.NDArray[np.floating] | None = None
    if estimate == "memorization":
        counts = count_runs(store, only_ratio(store, ratio) / PPM)
        counts.check_some_run(store.uri)
        values, basis = estimate_memorization(counts, empty="nan")["mem"], _basis(counts)
    elif estimate == "cscore":
        counts = count_runs(store, ratio)
        counts.check_some_run(store.uri)
        values, basis = cscore(counts)["cscore"], _basis(counts.holding_out())
    else:
        values, basis, without = _forgettability(store, only_ratio(store, ratio) / PPM)
    if replicates and estimate != "forgetting":
        without = _without_each(store, estimate, ratio)
    known, names = known_fingerprint(store), store.names[0]
    labels = read_labels(store).label
    replicated = without if replicates else None
    return Scores(store.uri, basis, labels, values.to_numpy(), known, names, replicated, estimate)


def _without_each(store: Store, estimate: Estimate, ratio: float | None) -> npt.NDArray[np.floating]:
    """Memorization or C-scores without each group of runs: float64[g, N]."""
    chosen = only_ratio(store, ratio) / PPM if estimate == "memorization" else ratio
    replicates = [np.zeros((0, store.header.num_train))]
    for counts in group_runs(store, chosen).without_each():
        frame = estimate_memorization(counts, empty="nan") if estimate == "memorization" else cscore(counts)
        replicates.append(frame["mem" if estimate == "memorization" else "cscore"].to_numpy()[None])
    return np.concatenate(replicates)


def check_same_examples(store: Store, scores: Scores) -> None:
    """Raise EstimateError where scores are not of a store's examples in the same order."""
    labels = read_labels(store).label
    own = Scores(store.uri, "", labels, np.full(len(labels), np.nan), known_fingerprint(store))
    own.check_same_examples(scores)


def known_fingerprint(store: Store) -> str | None:
    """That of the examples' labels and pixels; None where runs were imported, of which only the labels are known."""
    return store.header.examples_fingerprint if isinstance(store.header.campaign, Campaign) else None


def _forgettability(store: Store, ratio: float) -> tuple["pd.Series[float]", str, Floats]:
    at, groups = recorded_at(store) or "presentations", number_of_groups(store)
    means = GroupedMeans(groups, store.header.num_train)

    def observe(run: Run, each: Forgetting) -> None:
        means.add(
            run.repetition // store.header.replicates % groups, np.where(each.presented, each.forgettability, np.nan)
        )

    (counted,) = sum_forgetting(store, ratio, at, observe)
    values = counted.frame(read_labels(store))["forgettability"]
    return values, f"ratio {ratio:g}, {counted.runs} runs, at {at}", means.without_each()


def _basis(counts: StoreCounts) -> str:
    ratios = [f"{ratio.ratio:g}" for ratio in counts.ratios]
    runs = sum(ratio.runs for ratio in counts.ratios)
    return f"ratio{'s' if len(ratios) > 1 else ''} {', '.join(ratios)}, {count_text(runs, 'run')}"


def _published(path: Path, estimate: Estimate) -> Scores:
    """Scores and labels, or memorization as V. Feldman and C. Zhang published it: tr_mem and tr_labels."""
    names = ("labels", "scores")
    if set(_MEMORIZATION) <= set(array_names(path)):
        names = _MEMORIZATION
        if estimate != "memorization":
            raise DataError(f"{path}: holds memorization (tr_mem), not {estimate}")
    arrays = read_vectors(path, dict.fromkeys(names, _MAX_EXAMPLES))
    labels, scores = (arrays[name] for name in names)
    if labels.dtype.kind not in "iu":
        raise DataError(f"{path}: {names[0]}: must be integers, got {labels.dtype}")
    if len(labels) != len(scores):
        raise DataError(f"{path}: {names[1]}: must be as many as {names[0]}, {len(labels)}, got {len(scores)}")
    return Scores(str(path), "published scores", labels.astype(np.int64), _decimal(scores), None)


def _of_table(file: str, column: str, ratio: float | None) -> Scores:
    """A column of a table with labels, in canonical order; NaN where an example has no number."""
    from workers.datasets.example_table import ExampleTable
    from workers.datasets.score_table import RATIO, column_scores, rows_at_ratio

    table = rows_at_ratio(ExampleTable.read(file, "scores", (column, _LABEL, RATIO), npz_column=column), ratio)
    count = len(table.table)
    values, numbers = column_scores(table, column, count), column_scores(table, _LABEL, count)
    wrong = np.flatnonzero(numbers != np.floor(numbers))  # NaN too
    if len(wrong):
        raise table.mistake("column", f"column {_LABEL} must hold whole numbers, got {numbers[wrong[0]]:g}")
    return Scores(f"{file}:{column}", "scores of a table", numbers.astype(np.int64), values, None, quantity=column)


def _decimal(scores: npt.NDArray[np.number]) -> Floats:
    """As float64; of a shorter float the decimal number that it stands for, so that 0.1 of a float32 file is 0.1."""
    short = scores.dtype.kind == "f" and scores.dtype.itemsize < 8
    return scores.astype(str).astype(np.float64) if short else scores.astype(np.float64)
