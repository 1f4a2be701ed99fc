"""Learning dynamics as data frames: forgetting, training statistics, proxies, noisy labels, groups."""

import pandas as pd

from analysis.estimators.localization.frames import probe_frame
from analysis.estimators.localization.gradients import gradient_frame
from analysis.learning.forgetting import estimate_forgetting
from analysis.learning.partitions import partition_curves
from analysis.learning.second_split import second_split_forgetting
from analysis.learning.training_statistics import estimate_training_statistics
from analysis.reading.counts import StoreCounts, count_runs
from analysis.reading.predictions import count_predictions, read_predictions
from analysis.reading.run_groups import group_runs
from analysis.reading.sequences import At
from analysis.scoring.example_scores import largest_ratio, read_example_scores
from analysis.scoring.groups import By, Groups, group_examples
from analysis.scoring.league import score_league
from analysis.scoring.learning_curves import learning_curves, learning_speed
from analysis.scoring.noise import noise_curves, noise_detection
from analysis.scoring.profiles import class_summary, group_profiles
from analysis.scoring.proxies import collect_proxies, reference_cscore, store_proxy_agreement
from analysis.scoring.scores import Scores, Source, read_scores
from analysis.scoring.suspects import rank_suspects
from analysis.statistics.intervals import CONFIDENCE, check_confidence
from analysis.view.base import View
from workers.common.arrays import Floats


class LearningView(View):
    """The part of a `StoreView` that is about how examples are learned."""

    def forgetting(
        self, *, ratio: float | None = None, at: At = "presentations", confidence: float = CONFIDENCE
    ) -> pd.DataFrame:
        """How often runs forgot each training example, and when they learned it: see `analysis.learning.forgetting`.

        Raises EstimateError also where the campaign does not record presentations, or evaluations of several epochs.
        """
        return self._frame(estimate_forgetting(self.store, ratio, at, confidence=confidence))

    def training_statistics(self, *, ratio: float | None = None) -> pd.DataFrame:
        """Margin, label probability and its variability, loss and EL2N of each example over its presentations.

        See `analysis.learning.training_statistics`. Raises EstimateError where the campaign records none of them.
        """
        return self._frame(estimate_training_statistics(self.store, ratio))

    def proxies(self, *, ratio: float | None = None) -> pd.DataFrame:
        """Every proxy of the C-score, high being regular, at one ratio (None: the largest).

        See `analysis.scoring.proxies`.
        """
        return self._frame(collect_proxies(self.store, ratio))

    def proxy_agreement(
        self, *, ratio: float | None = None, cscore: Source | None = None, confidence: float = CONFIDENCE
    ) -> pd.DataFrame:
        """Rank correlations of each proxy with the C-score: of this store, or of another store or file of scores."""
        check_confidence(confidence)
        reference = reference_cscore(self.store, cscore, replicates=True)
        scores = read_example_scores(self.store, largest_ratio(self.store, ratio), replicates=True)
        return self._frame(store_proxy_agreement(scores, reference, confidence=confidence))

    def league(self, *, ratio: float | None = None, confidence: float = CONFIDENCE) -> pd.DataFrame:
        """How well each cheap score ranks examples as memorization, C-score and vulnerability do.

        See `analysis.scoring.league`.
        """
        return self._frame(score_league(self.store, ratio, confidence=confidence))

    def noise(self, *, ratio: float | None = None, confidence: float = CONFIDENCE) -> pd.DataFrame:
        """How well each score finds the noisy labels: see `analysis.scoring.noise`.

        Raises EstimateError where none is noisy.
        """
        check_confidence(confidence)
        return self._frame(
            noise_detection(read_example_scores(self.store, ratio, replicates=True), confidence=confidence)
        )

    def noise_curves(self, *, ratio: float | None = None) -> pd.DataFrame:
        """Points of each score's ROC and precision-recall curves: see `analysis.scoring.noise`."""
        return self._frame(noise_curves(read_example_scores(self.store, ratio)))

    def suspects(self, *, ratio: float | None = None, by: str | None = None) -> pd.DataFrame:
        """The examples by how suspicious their given label is: see `analysis.scoring.suspects`.

        Where predictions are recorded, with the label that held-out models predict.
        """
        predictions = read_predictions(self.store, ratio)
        return self._frame(rank_suspects(read_example_scores(self.store, ratio), by, predictions))

    def pred_probs(self, *, ratio: float | None = None, epoch: int | None = None) -> Floats:
        """float64[N, C]: the share of the models that did not train on an example that predict each class for it.

        Rows sum to 1. This is the argument `pred_probs` of cleanlab's functions. `ratio` None stands for the runs of
        all ratios. Raises EstimateError where predictions are not recorded (`record.outputs`), or where some example
        was never held out.
        """
        return count_predictions(self.store, ratio, epoch).probabilities()

    def probe(self, name: str, *, ratio: float | None = None) -> pd.DataFrame:
        """What a probe measured of each run: `gradients`, `rewinding`, `retraining`, `neurons`, `dropout`, or one of
        the campaign's own. See `analysis.estimators.localization`; `gradients` are norms and cosines by layer.

        Raises EstimateError where the campaign has no such probe, or no measured run is committed.
        """
        if name == "gradients":
            return self._frame(gradient_frame(self.store, ratio=ratio))
        return self._frame(probe_frame(self.store, name, ratio=ratio))

    def profiles(self, *, by: By = "cscore", groups: int = 5, scores: Source | Scores | None = None) -> pd.DataFrame:
        """The consistency profile of groups of examples over the ratios: see `analysis.scoring.profiles`.

        `scores` of another store or file take the place of this store's own C-score: of a store its C-score.
        """
        counts, grouped = self._grouped(by, groups, scores)
        return self._frame(group_profiles(self.store, counts, grouped, group_runs(self.store)))

    def learning_curves(
        self,
        *,
        ratio: float | None = None,
        at: At = "presentations",
        by: By = "cscore",
        groups: int = 5,
        scores: Source | Scores | None = None,
    ) -> pd.DataFrame:
        """Mean correctness of groups of examples, epoch after epoch: see `analysis.scoring.learning_curves`.

        `scores` as in `profiles`: they are needed where all ratios are 1, so that no run held an example out.
        """
        return self._frame(learning_curves(self.store, self._grouped(by, groups, scores)[1], at, ratio))

    def learning_speed(
        self,
        *,
        ratio: float | None = None,
        at: At = "presentations",
        by: By = "cscore",
        groups: int = 5,
        scores: Source | Scores | None = None,
    ) -> pd.DataFrame:
        """The epoch at which groups of examples are learned, and the area under their learning curves.

        See `analysis.scoring.learning_curves`. `scores` as in `learning_curves`.
        """
        return self._frame(learning_speed(self.store, self._grouped(by, groups, scores)[1], at, ratio))

    def _grouped(self, by: By, groups: int, scores: Source | Scores | None) -> tuple[StoreCounts, Groups]:
        others = scores if scores is None or isinstance(scores, Scores) else read_scores(scores, "cscore")
        counts = count_runs(self.store)
        return counts, group_examples(self.store, counts, by, groups, others)

    def partitions(self, *, ratio: float | None = None, confidence: float = CONFIDENCE) -> pd.DataFrame:
        """Accuracy of the partitions of a curriculum, epoch after epoch: see `analysis.learning.partitions`."""
        return self._frame(partition_curves(self.store, ratio, confidence=confidence))

    def second_split_forgetting(self, *, ratio: float | None = None) -> pd.DataFrame:
        """How long examples of partition 1 are remembered while partition 2 is trained.

        See `analysis.learning.second_split`. Raises EstimateError where the campaign has no curriculum, or does not
        record the epochs.
        """
        return self._frame(second_split_forgetting(self.store, ratio))

    def class_summary(self) -> pd.DataFrame:
        """Means and spreads of mem and C-score in each class: see `analysis.scoring.profiles`."""
        return self._frame(class_summary(self.store, count_runs(self.store), group_runs(self.store)))
