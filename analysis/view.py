"""A store as data frames: what was trained, and every estimate of it."""

import os
from functools import partial
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from analysis.consistency import consistency_profile, cscore
from analysis.datamodels.fitting import Datamodels, fit_datamodels
from analysis.datamodels.linear_fits import Method
from analysis.errors import EstimateError
from analysis.influence.discoveries import influence_discoveries
from analysis.influence.estimator import MAX_PAIRS, MEMORY_MB, influence_matrix, influence_pairs, influence_top
from analysis.influence.high_influence import influential_pairs
from analysis.learning_view import LearningView
from analysis.memorization import estimate_memorization
from analysis.reading.bits import pack_runs
from analysis.reading.counts import count_runs
from analysis.reading.outputs import read_outputs
from analysis.reading.selection import committed_ratios, scan_epoch, select_ratios
from analysis.reliability import estimate_reliability
from analysis.removal import removal_curve
from analysis.standard_errors import expected_se
from analysis.statistics.intervals import CONFIDENCE, check_confidence
from analysis.statistics.means import Empty
from workers.campaign import PARTS, Campaign
from workers.store import Store

Split = Literal["train", "test"]

_LIGHT = (
    *("run_id", "ratio", "repetition", "epoch", "is_final", "subset_accuracy", "heldout_accuracy", "test_accuracy"),
    *("train_loss", "seconds", "device", "status"),
)
_MEANS = ("subset_accuracy", "heldout_accuracy", "test_accuracy", "train_loss")


def open_store(uri: str | os.PathLike[str]) -> "StoreView":
    """The store at a path or URI. Raises StoreError where there is none, DamagedFileError where it is unreadable."""
    return StoreView(Store.open(uri))


class StoreView(LearningView):
    """A store's results and estimates as data frames. Every call reads the runs that are committed at that moment.

    `ratio` None stands for all committed ratios, or, where a result belongs to one ratio, for the only one; `epoch`
    None stands for the last; `confidence` is the level of the limits `low` and `high`. Methods raise EstimateError for
    a ratio or an epoch that the store does not have and for a level that is not between 0 and 1, and DamagedFileError,
    naming the file, where one is unreadable.
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    def __repr__(self) -> str:
        return f"StoreView({self.store.uri!r})"

    # What was trained -----------------------------------------------------------------------------------------------

    @property
    def campaign(self) -> Campaign:
        """The campaign as first given. Raises EstimateError where the runs were imported."""
        campaign = self.store.header.campaign
        if not isinstance(campaign, Campaign):
            raise EstimateError(f"{self.store.uri}: has no campaign, its runs were imported ({campaign.experiment})")
        return campaign

    @property
    def ratios(self) -> tuple[float, ...]:
        """The ratios that have committed runs, ascending."""
        return tuple(parts / PARTS for parts in committed_ratios(self.store))

    def runs(self) -> pd.DataFrame:
        """One row per run and recorded epoch, ascending; reads no vectors.

        run_id, ratio, repetition, epoch, is_final, subset_accuracy, heldout_accuracy, test_accuracy, train_loss (NaN
        where it rests on nothing or is not finite), seconds, device, status (completed, diverged).
        """
        tables = [table for _, table in self.store.scan(_LIGHT)]
        if not tables:
            return pd.DataFrame(columns=list(_LIGHT))
        frame: pd.DataFrame = pa.concat_tables(tables).to_pandas()
        return frame

    def examples(self, split: Split | None = None) -> pd.DataFrame:
        """One row per example: split, example_id, label, given_label; of one split or of both."""
        frame: pd.DataFrame = self.store.examples().to_pandas()
        return frame if split is None else frame[frame["split"] == _checked(split)].reset_index(drop=True)

    def correctness(self, split: Split, *, ratio: float | None = None, epoch: int | None = None) -> pd.DataFrame:
        """bool frame, one row per run (index run_id), one column per example: did it predict the label at that epoch.

        Takes one byte a value. Holds diverged runs too: `runs()` tells which they are.
        """
        return self._vectors(f"{_checked(split)}_correct", ratio, epoch)

    def margins(self, *, ratio: float | None = None, epoch: int | None = None) -> pd.DataFrame:
        """float16 frame as `correctness("test")`: the label's logit less the largest other one; NaN if not finite.

        Raises EstimateError where the campaign does not record margins.
        """
        if not self.store.header.record.margins:
            raise EstimateError(f"{self.store.uri}: has no margins: record.margins must be true, got False")
        return self._vectors("test_margin", ratio, epoch)

    def subsets(self, ratio: float | None = None) -> pd.DataFrame:
        """bool frame, one row per run (index run_id), one column per training example: did the run train on it."""
        return self._vectors("subset", ratio, None)

    def summary(self) -> pd.DataFrame:
        """One row per ratio with committed runs: ratio, runs, diverged, wanted, mean accuracies and loss, seconds.

        `runs` counts all committed ones, `wanted` those asked for so far. Means are over the runs that did not diverge,
        at their last epoch; seconds are summed over all.
        """
        runs = self.runs()
        final = runs[runs["is_final"].astype(bool)]
        wanted = {parts / PARTS: repetitions for parts, repetitions in self.store.targets().items()}
        rows = []
        for ratio in self.ratios:
            at = final[final["ratio"] == ratio]
            used = at[at["status"] != "diverged"]
            means = {name: used[name].mean() for name in _MEANS}
            counts = {"runs": len(at), "diverged": len(at) - len(used), "wanted": wanted.get(ratio, len(at))}
            rows.append({"ratio": ratio, **counts, **means, "seconds": at["seconds"].sum()})
        return pd.DataFrame(rows, columns=["ratio", "runs", "diverged", "wanted", *_MEANS, "seconds"])

    # Estimates ------------------------------------------------------------------------------------------------------

    def memorization(
        self,
        ratio: float | None = None,
        *,
        epoch: int | None = None,
        empty: Empty = "half",
        confidence: float = CONFIDENCE,
    ) -> pd.DataFrame:
        """Memorization of each training example at each ratio: see `analysis.memorization`."""
        check_confidence(confidence)
        return estimate_memorization(count_runs(self.store, ratio, epoch), empty=empty, confidence=confidence)

    def expected_se(self, runs: int, ratio: float | None = None) -> pd.DataFrame:
        """The standard error of mem that `runs` runs would give, judged by those that are there: a plan's figures.

        One row per ratio and training example: see `analysis.standard_errors`.
        """
        return expected_se(count_runs(self.store, ratio), runs)

    def consistency(self, epoch: int | None = None, *, confidence: float = CONFIDENCE) -> pd.DataFrame:
        """Consistency profile of each training example over the ratios under 1: see `analysis.consistency`."""
        check_confidence(confidence)
        return consistency_profile(count_runs(self.store, epoch=epoch), confidence=confidence)

    def cscore(self, epoch: int | None = None, *, confidence: float = CONFIDENCE) -> pd.DataFrame:
        """C-score of each training example: see `analysis.consistency`."""
        check_confidence(confidence)
        return cscore(count_runs(self.store, epoch=epoch), confidence=confidence)

    def reliability(
        self, ratio: float | None = None, *, splits: int = 10, seed: int = 0, epoch: int | None = None
    ) -> pd.DataFrame:
        """How far halves of the runs agree on each estimate, by the number of runs: see `analysis.reliability`."""
        return estimate_reliability(self.store, ratio, splits=splits, seed=seed, epoch=epoch)

    def removal(self, *, epoch: int | None = None, confidence: float = CONFIDENCE) -> pd.DataFrame:
        """Test accuracy against the share of examples removed, by rule: see `analysis.removal`."""
        return removal_curve(self.store, epoch, confidence=confidence)

    def influence(
        self,
        ratio: float | None = None,
        *,
        top: int | None = None,
        threshold: float | None = None,
        epoch: int | None = None,
        empty: Empty = "half",
        confidence: float = CONFIDENCE,
        memory_mb: float = MEMORY_MB,
        max_pairs: int = MAX_PAIRS,
    ) -> pd.DataFrame:
        """Influence of training on test examples: the `top` of each test example, or the pairs that reach `threshold`.

        With neither, the top 5. Columns and options: `analysis.influence.estimator`. Raises EstimateError for both.
        """
        if top is not None and threshold is not None:
            raise EstimateError(f"give top or threshold, not both, got top={top!r} and threshold={threshold!r}")
        check_confidence(confidence)
        bits = pack_runs(self.store, ratio, epoch)
        if threshold is None:
            return influence_top(
                bits, top=5 if top is None else top, empty=empty, confidence=confidence, memory_mb=memory_mb
            )
        return influence_pairs(
            bits, threshold=threshold, empty=empty, confidence=confidence, memory_mb=memory_mb, max_pairs=max_pairs
        )

    def discoveries(
        self,
        ratio: float | None = None,
        *,
        fdr: float = 0.05,
        same_class: bool = False,
        epoch: int | None = None,
        confidence: float = CONFIDENCE,
        memory_mb: float = MEMORY_MB,
        max_pairs: int = MAX_PAIRS,
    ) -> pd.DataFrame:
        """The pairs of positive influence at a false discovery rate: see `analysis.influence.discoveries`."""
        check_confidence(confidence)
        bits = pack_runs(self.store, ratio, epoch)
        return influence_discoveries(
            bits, fdr=fdr, same_class=same_class, confidence=confidence, memory_mb=memory_mb, max_pairs=max_pairs
        )

    def influence_matrix(
        self,
        tests: slice | npt.ArrayLike = slice(None),
        ratio: float | None = None,
        *,
        epoch: int | None = None,
        empty: Empty = "half",
        memory_mb: float = MEMORY_MB,
    ) -> npt.NDArray[np.float32]:
        """infl as float32[len(tests), N] for selected test examples: a slice, ids, or a mask of length T."""
        return influence_matrix(pack_runs(self.store, ratio, epoch), tests, empty=empty, memory_mb=memory_mb)

    def influential_pairs(
        self,
        ratio: float | None = None,
        *,
        min_infl: float = 0.15,
        min_mem: float = 0.25,
        same_class: bool = True,
        epoch: int | None = None,
        confidence: float = CONFIDENCE,
        empty: Empty = "half",
        memory_mb: float = MEMORY_MB,
        max_pairs: int = MAX_PAIRS,
    ) -> pd.DataFrame:
        """The published selection of high-influence pairs, with `mem`: see `analysis.influence.high_influence`."""
        return influential_pairs(
            self.store,
            ratio,
            min_infl=min_infl,
            min_mem=min_mem,
            same_class=same_class,
            epoch=epoch,
            confidence=confidence,
            empty=empty,
            memory_mb=memory_mb,
            max_pairs=max_pairs,
        )

    def datamodels(
        self,
        ratio: float | None = None,
        *,
        method: Method = "ridge",
        tests: slice | npt.ArrayLike = slice(None),
        top: int = 10,
        heldout: float = 0.2,
        seed: int = 0,
        epoch: int | None = None,
    ) -> Datamodels:
        """Linear datamodels of test examples (a slice, ids, or a mask), and their scores.

        See `analysis.datamodels.fitting`.
        """
        source = read_outputs(self.store, ratio, tests, epoch)
        return fit_datamodels(source, method=method, top=top, heldout=heldout, seed=seed)

    def _vectors(self, column: str, ratio: float | None, epoch: int | None) -> pd.DataFrame:
        """One vector column of every run, diverged ones included, as a frame."""
        read = self.store.margins if column == "test_margin" else partial(self.store.bits, column=column)
        chosen = select_ratios(self.store, ratio)
        ids: list[str] = []
        blocks = []
        for rows in scan_epoch(self.store, ("run_id", column), None if ratio is None else chosen[0], epoch):
            ids += rows.table["run_id"].to_pylist()
            blocks.append(read(rows.shard, rows.table))
        matrix = np.concatenate(blocks)
        columns = pd.RangeIndex(matrix.shape[1], name="example_id")
        return pd.DataFrame(matrix, index=pd.Index(ids, name="run_id"), columns=columns)


def _checked(split: Split) -> Split:
    if split not in get_args(Split):
        raise EstimateError(f"split must be one of {', '.join(get_args(Split))}, got {split!r}")
    return split
