"""Reduces a store to estimates: memorization, influence, consistency, C-score, forgetting. Needs only the store;
images of examples need its data set."""

from analysis import plot
from analysis.estimators.consistency import consistency_profile, cscore
from analysis.estimators.diverged_bounds import diverged_bounds, diverged_notes
from analysis.estimators.memorization import estimate_memorization
from analysis.estimators.removal import removal_curve, write_removal
from analysis.estimators.standard_errors import (
    expected_se,
    feldman_zhang_bound,
    largest_unit_variance,
    most_examples_se,
    runs_needed,
    se_of_runs,
    unit_variance,
)
from analysis.influence.datamodels.fitting import Datamodels, fit_datamodels
from analysis.influence.discoveries import influence_discoveries
from analysis.influence.estimator import influence_matrix, influence_pairs, influence_top
from analysis.influence.high_influence import influential_pairs
from analysis.influence.matrix_files import write_influence_matrix
from analysis.learning.forgetting import estimate_forgetting
from analysis.learning.forgetting_summary import forgetting_summary
from analysis.learning.training_statistics import estimate_training_statistics
from analysis.reading.bits import PackedBits, RatioBits, pack_runs
from analysis.reading.counts import RatioCounts, StoreCounts, count_first_runs, count_runs
from analysis.reading.outputs import RatioOutputs, read_outputs
from analysis.report.write_estimates import write_estimates
from analysis.scoring.agreement import Agreement, compare
from analysis.scoring.example_scores import ExampleScore, StoreScores, read_example_scores
from analysis.scoring.forgetting_agreement import forgetting_agreement
from analysis.scoring.groups import Groups, group_examples
from analysis.scoring.noise import noise_curves, noise_detection
from analysis.scoring.profiles import class_summary, group_profiles, learning_curves
from analysis.scoring.proxies import collect_proxies, proxy_agreement
from analysis.scoring.split_half import estimate_reliability
from analysis.scoring.suspects import rank_suspects
from analysis.statistics.intervals import average_interval, difference_interval, mean_interval
from analysis.statistics.means import without_empty_groups
from analysis.view import StoreView, open_store
from analysis.view.display.frame import Frame
from workers.errors import EstimateError, NoEstimateError, TooManyPairsError

__all__ = [
    "Agreement",
    "Datamodels",
    "EstimateError",
    "ExampleScore",
    "Frame",
    "Groups",
    "NoEstimateError",
    "PackedBits",
    "RatioBits",
    "RatioCounts",
    "RatioOutputs",
    "StoreCounts",
    "StoreScores",
    "StoreView",
    "TooManyPairsError",
    "average_interval",
    "class_summary",
    "collect_proxies",
    "compare",
    "consistency_profile",
    "count_first_runs",
    "count_runs",
    "cscore",
    "difference_interval",
    "diverged_bounds",
    "diverged_notes",
    "estimate_forgetting",
    "estimate_memorization",
    "estimate_reliability",
    "estimate_training_statistics",
    "expected_se",
    "feldman_zhang_bound",
    "fit_datamodels",
    "forgetting_agreement",
    "forgetting_summary",
    "group_examples",
    "group_profiles",
    "influence_discoveries",
    "influence_matrix",
    "influence_pairs",
    "influence_top",
    "influential_pairs",
    "largest_unit_variance",
    "learning_curves",
    "mean_interval",
    "most_examples_se",
    "noise_curves",
    "noise_detection",
    "open_store",
    "pack_runs",
    "plot",
    "proxy_agreement",
    "rank_suspects",
    "read_example_scores",
    "read_outputs",
    "removal_curve",
    "runs_needed",
    "se_of_runs",
    "unit_variance",
    "without_empty_groups",
    "write_estimates",
    "write_influence_matrix",
    "write_removal",
]
