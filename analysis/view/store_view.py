"""A store as data frames: runs, examples, and every estimate."""

import os
from typing import Literal

import numpy.typing as npt
import pandas as pd

from analysis.estimators.consistency import consistency_profile, cscore
from analysis.estimators.memorization import estimate_memorization
from analysis.estimators.output_means import output_cscore, output_memorization, output_profile
from analysis.estimators.removal import removal_curve
from analysis.estimators.removal_on_tests import removal_on_tests
from analysis.estimators.standard_errors import expected_se
from analysis.estimators.training_variance import estimate_variance
from analysis.reading.counts import count_runs
from analysis.reading.output_moments import ExampleOutput, read_output_moments
from analysis.reading.outputs import TestOutput
from analysis.reading.subset_groups import check_own_subsets
from analysis.scoring.split_half import estimate_reliability
from analysis.statistics.intervals import CONFIDENCE, check_confidence
from analysis.statistics.means import Empty, without_empty_groups
from analysis.view.base import checked_split
from analysis.view.display.overview import overview_facts, overview_html, overview_rows
from analysis.view.influence import InfluenceView
from analysis.view.learning import LearningView
from analysis.view.privacy import PrivacyView
from analysis.view.trained import TrainedView
from workers.common.splits import Split
from workers.errors import EstimateError
from workers.store import Store

MeanOutput = ExampleOutput | Literal["correctness"]


def open_store(uri: str | os.PathLike[str], *, trust_code: bool = False) -> "StoreView":
    """The store at a path or URI. Raises StoreError where there is none, DamagedFileError where it is unreadable.

    `trust_code` is for stores that you made: images may come from a function of your own that the campaign names, or
    from a download. A store may come from anybody, so without it they come from the cache or from files that are here.
    """
    return StoreView(Store.open(uri), trust_code=trust_code)


class StoreView(TrainedView, LearningView, InfluenceView, PrivacyView):
    """A store's results and estimates as data frames. Every call reads the runs that are committed at that moment.

    Options are keywords: `ratio`, `epoch` and `empty` come first in every method that has them. `ratio` None stands for
    all committed ratios, or, where a result belongs to one ratio, for the one with the most runs
    (`analysis.reading.selection.preferred_ratio`); `epoch` None stands for the last; `confidence` is the level of the
    limits `low` and `high`. Methods raise EstimateError for a ratio or an epoch that the store does not have and for a
    level that is not between 0 and 1, and DamagedFileError, naming the file, where one is unreadable.

    The frames are pandas' own in everything but how a notebook shows them: see `analysis.view.display.frame`.
    """

    def __repr__(self) -> str:
        return f"StoreView({self.store.uri!r})"

    def _repr_html_(self) -> str:
        """What a notebook shows: data, model and training; runs and precision at each ratio; what to call next."""
        summary = self.summary()
        errors = dict[float, float]()
        if len(summary):
            mem = without_empty_groups(estimate_memorization(count_runs(self.store)))
            medians = mem.groupby("ratio", as_index=False)["se"].median()
            errors = dict(zip(medians["ratio"].tolist(), medians["se"].tolist(), strict=True))
        return overview_html(self.store.uri, overview_facts(self.store), overview_rows(summary, errors))

    def report_link(self, report: str | os.PathLike[str], example_id: int, split: Split = "train") -> str:
        """The address of an example in a report that `longtail report` wrote: `report.html#train-61`.

        Raises EstimateError for an example that the store does not have.
        """
        count = self.store.header.num_train if checked_split(split) == "train" else self.store.header.num_test
        if not 0 <= example_id < count:
            raise EstimateError(f"example_id must be a whole number of 0 to {count - 1} ({split}), got {example_id!r}")
        return f"{os.fspath(report)}#{split}-{int(example_id)}"

    def memorization(
        self,
        *,
        ratio: float | None = None,
        epoch: int | None = None,
        empty: Empty = "half",
        output: MeanOutput = "correctness",
        confidence: float = CONFIDENCE,
    ) -> pd.DataFrame:
        """Memorization of each training example at each ratio: see `analysis.estimators.memorization`.

        Of another `output` than correctness: see `analysis.estimators.output_means`; `empty` does not apply.
        """
        check_confidence(confidence)
        if output != "correctness":
            moments = read_output_moments(self.store, output, ratio, epoch)
            return self._frame(output_memorization(moments, confidence=confidence))
        return self._frame(
            estimate_memorization(count_runs(self.store, ratio, epoch), empty=empty, confidence=confidence)
        )

    def variance(
        self,
        *,
        ratio: float | None = None,
        epoch: int | None = None,
        split: Split = "test",
        output: TestOutput = "correctness",
    ) -> pd.DataFrame:
        """The variance of an output of each example by subset and by seed: see `analysis.estimators.training_variance`.

        Of test examples, or with `split` train of training examples over the subsets that lack them.
        """
        estimate = estimate_variance(self.store, ratio, split=checked_split(split), output=output, epoch=epoch)
        return self._frame(estimate.examples)

    def mean_variance(
        self,
        *,
        ratio: float | None = None,
        epoch: int | None = None,
        split: Split = "test",
        output: TestOutput = "correctness",
    ) -> pd.DataFrame:
        """Means of `variance` over examples, a row for each ratio."""
        return estimate_variance(self.store, ratio, split=checked_split(split), output=output, epoch=epoch).means

    def expected_se(self, runs: int, *, ratio: float | None = None) -> pd.DataFrame:
        """The standard error of mem after `runs` runs, estimated from the store's runs, as `longtail plan` does.

        One row per ratio and training example: see `analysis.estimators.standard_errors`.
        """
        check_own_subsets(self.store, "an expected standard error")
        return self._frame(expected_se(count_runs(self.store, ratio), runs))

    def consistency(
        self, *, epoch: int | None = None, output: MeanOutput = "correctness", confidence: float = CONFIDENCE
    ) -> pd.DataFrame:
        """Consistency profile of each training example over the ratios: see `analysis.estimators.consistency`.

        Of another `output` than correctness: see `analysis.estimators.output_means`.
        """
        check_confidence(confidence)
        if output != "correctness":
            moments = read_output_moments(self.store, output, epoch=epoch)
            return self._frame(output_profile(moments, confidence=confidence))
        return self._frame(consistency_profile(count_runs(self.store, epoch=epoch), confidence=confidence))

    def cscore(
        self, *, epoch: int | None = None, output: MeanOutput = "correctness", confidence: float = CONFIDENCE
    ) -> pd.DataFrame:
        """C-score of each training example: see `analysis.estimators.consistency`.

        Of another `output` than correctness: see `analysis.estimators.output_means`.
        """
        check_confidence(confidence)
        if output != "correctness":
            moments = read_output_moments(self.store, output, epoch=epoch)
            return self._frame(output_cscore(moments, confidence=confidence))
        return self._frame(cscore(count_runs(self.store, epoch=epoch), confidence=confidence))

    def reliability(
        self, *, ratio: float | None = None, epoch: int | None = None, splits: int = 10, seed: int = 0
    ) -> pd.DataFrame:
        """Split-half reliability of each estimate by the number of runs: see `analysis.scoring.split_half`."""
        return self._frame(estimate_reliability(self.store, ratio, splits=splits, seed=seed, epoch=epoch))

    def removal(self, *, epoch: int | None = None, confidence: float = CONFIDENCE) -> pd.DataFrame:
        """Test accuracy against the share of examples removed, by rule: see `analysis.estimators.removal`."""
        return self._frame(removal_curve(self.store, epoch, confidence=confidence))

    def removal_on_tests(
        self, tests: npt.ArrayLike, *, epoch: int | None = None, confidence: float = CONFIDENCE
    ) -> pd.DataFrame:
        """What chosen test examples (ids or a mask) lose by a removal: see `analysis.estimators.removal_on_tests`."""
        return self._frame(removal_on_tests(self.store, tests, epoch, confidence=confidence))
