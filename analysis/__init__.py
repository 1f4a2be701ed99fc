"""Reduces a store to estimates: memorization, influence, consistency, C-score, forgetting. Needs only the store;
images of examples need its data set."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis import plot
    from analysis.estimators.consistency import consistency_profile, cscore
    from analysis.estimators.diverged_bounds import diverged_bounds, diverged_notes
    from analysis.estimators.memorization import estimate_memorization
    from analysis.estimators.removal import removal_curve, write_removal
    from analysis.estimators.removal_on_tests import removal_on_tests
    from analysis.estimators.removed_scores import with_removed_scores
    from analysis.estimators.standard_errors import (
        expected_se,
        feldman_zhang_bound,
        largest_unit_variance,
        p90_expected_se,
        runs_needed,
        se_of_runs,
        unit_variance,
    )
    from analysis.influence.attributions.exam import AttributionExam, score_attributions
    from analysis.influence.attributions.subset_outputs import SubsetOutputs, by_subset
    from analysis.influence.datamodels.fitting import Datamodels, fit_datamodels
    from analysis.influence.discoveries import influence_discoveries
    from analysis.influence.estimator import influence_matrix, influence_pairs, influence_top
    from analysis.influence.group_influence import group_influence
    from analysis.influence.high_influence import PairSelection, influential_pairs
    from analysis.influence.matrix_files import write_influence_matrix
    from analysis.influence.pair_options import PairOptions
    from analysis.influence.pair_sides import pair_uniqueness, pairs_per_test
    from analysis.learning.forgetting import estimate_forgetting
    from analysis.learning.forgetting_summary import forgetting_summary
    from analysis.learning.margins import presented_margins
    from analysis.learning.paired_forgetting import PairedForgetting, paired_forgetting
    from analysis.learning.partitions import partition_curves
    from analysis.learning.second_split import second_split_forgetting
    from analysis.learning.training_statistics import estimate_training_statistics
    from analysis.reading.bits import PackedBits, RatioBits, pack_runs
    from analysis.reading.counts import RatioCounts, StoreCounts, count_first_runs, count_runs
    from analysis.reading.outputs import RatioOutputs, read_outputs
    from analysis.report.write_estimates import write_estimates
    from analysis.scoring.agreement import Agreement, compare
    from analysis.scoring.example_scores import ExampleScore, StoreScores, read_example_scores
    from analysis.scoring.forgetting_agreement import forgetting_agreement
    from analysis.scoring.groups import Groups, group_examples
    from analysis.scoring.league import score_league
    from analysis.scoring.learning_curves import learning_curves, learning_speed
    from analysis.scoring.noise import noise_curves, noise_detection
    from analysis.scoring.pair_agreement import PairAgreement, compare_pairs
    from analysis.scoring.privacy.audit import Audit, AuditOptions, audit_store
    from analysis.scoring.profiles import class_summary, group_profiles
    from analysis.scoring.proxies import collect_proxies, proxy_agreement
    from analysis.scoring.scores import UnseenByEncoder
    from analysis.scoring.split_half import estimate_reliability
    from analysis.scoring.suspects import rank_suspects
    from analysis.statistics.intervals import average_interval, difference_interval, mean_interval
    from analysis.statistics.means import without_empty_groups
    from analysis.view import StoreView, open_store
    from analysis.view.display.frame import Frame
    from workers.errors import EstimateError, NoEstimateError, TooManyPairsError

__all__ = [
    "Agreement",
    "AttributionExam",
    "Audit",
    "AuditOptions",
    "Datamodels",
    "EstimateError",
    "ExampleScore",
    "Frame",
    "Groups",
    "NoEstimateError",
    "PackedBits",
    "PairAgreement",
    "PairOptions",
    "PairSelection",
    "PairedForgetting",
    "RatioBits",
    "RatioCounts",
    "RatioOutputs",
    "StoreCounts",
    "StoreScores",
    "StoreView",
    "SubsetOutputs",
    "TooManyPairsError",
    "UnseenByEncoder",
    "audit_store",
    "average_interval",
    "by_subset",
    "class_summary",
    "collect_proxies",
    "compare",
    "compare_pairs",
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
    "group_influence",
    "group_profiles",
    "influence_discoveries",
    "influence_matrix",
    "influence_pairs",
    "influence_top",
    "influential_pairs",
    "largest_unit_variance",
    "learning_curves",
    "learning_speed",
    "mean_interval",
    "noise_curves",
    "noise_detection",
    "open_store",
    "p90_expected_se",
    "pack_runs",
    "pair_uniqueness",
    "paired_forgetting",
    "pairs_per_test",
    "partition_curves",
    "plot",
    "presented_margins",
    "proxy_agreement",
    "rank_suspects",
    "read_example_scores",
    "read_outputs",
    "removal_curve",
    "removal_on_tests",
    "runs_needed",
    "score_attributions",
    "score_league",
    "se_of_runs",
    "second_split_forgetting",
    "unit_variance",
    "with_removed_scores",
    "without_empty_groups",
    "write_estimates",
    "write_influence_matrix",
    "write_removal",
]

_MODULES = {
    "Agreement": "analysis.scoring.agreement",
    "AttributionExam": "analysis.influence.attributions.exam",
    "Audit": "analysis.scoring.privacy.audit",
    "AuditOptions": "analysis.scoring.privacy.audit",
    "Datamodels": "analysis.influence.datamodels.fitting",
    "EstimateError": "workers.errors",
    "ExampleScore": "analysis.scoring.example_scores",
    "Frame": "analysis.view.display.frame",
    "Groups": "analysis.scoring.groups",
    "NoEstimateError": "workers.errors",
    "PackedBits": "analysis.reading.bits",
    "PairOptions": "analysis.influence.pair_options",
    "PairedForgetting": "analysis.learning.paired_forgetting",
    "PairSelection": "analysis.influence.high_influence",
    "RatioBits": "analysis.reading.bits",
    "RatioCounts": "analysis.reading.counts",
    "RatioOutputs": "analysis.reading.outputs",
    "StoreCounts": "analysis.reading.counts",
    "StoreScores": "analysis.scoring.example_scores",
    "StoreView": "analysis.view",
    "SubsetOutputs": "analysis.influence.attributions.subset_outputs",
    "TooManyPairsError": "workers.errors",
    "UnseenByEncoder": "analysis.scoring.scores",
    "audit_store": "analysis.scoring.privacy.audit",
    "average_interval": "analysis.statistics.intervals",
    "by_subset": "analysis.influence.attributions.subset_outputs",
    "class_summary": "analysis.scoring.profiles",
    "collect_proxies": "analysis.scoring.proxies",
    "PairAgreement": "analysis.scoring.pair_agreement",
    "compare": "analysis.scoring.agreement",
    "compare_pairs": "analysis.scoring.pair_agreement",
    "consistency_profile": "analysis.estimators.consistency",
    "count_first_runs": "analysis.reading.counts",
    "count_runs": "analysis.reading.counts",
    "cscore": "analysis.estimators.consistency",
    "difference_interval": "analysis.statistics.intervals",
    "diverged_bounds": "analysis.estimators.diverged_bounds",
    "diverged_notes": "analysis.estimators.diverged_bounds",
    "estimate_forgetting": "analysis.learning.forgetting",
    "estimate_memorization": "analysis.estimators.memorization",
    "estimate_reliability": "analysis.scoring.split_half",
    "estimate_training_statistics": "analysis.learning.training_statistics",
    "expected_se": "analysis.estimators.standard_errors",
    "feldman_zhang_bound": "analysis.estimators.standard_errors",
    "fit_datamodels": "analysis.influence.datamodels.fitting",
    "forgetting_agreement": "analysis.scoring.forgetting_agreement",
    "forgetting_summary": "analysis.learning.forgetting_summary",
    "group_examples": "analysis.scoring.groups",
    "group_influence": "analysis.influence.group_influence",
    "group_profiles": "analysis.scoring.profiles",
    "influence_discoveries": "analysis.influence.discoveries",
    "influence_matrix": "analysis.influence.estimator",
    "influence_pairs": "analysis.influence.estimator",
    "influence_top": "analysis.influence.estimator",
    "influential_pairs": "analysis.influence.high_influence",
    "largest_unit_variance": "analysis.estimators.standard_errors",
    "learning_curves": "analysis.scoring.learning_curves",
    "learning_speed": "analysis.scoring.learning_curves",
    "mean_interval": "analysis.statistics.intervals",
    "p90_expected_se": "analysis.estimators.standard_errors",
    "noise_curves": "analysis.scoring.noise",
    "noise_detection": "analysis.scoring.noise",
    "open_store": "analysis.view",
    "pack_runs": "analysis.reading.bits",
    "pair_uniqueness": "analysis.influence.pair_sides",
    "pairs_per_test": "analysis.influence.pair_sides",
    "paired_forgetting": "analysis.learning.paired_forgetting",
    "partition_curves": "analysis.learning.partitions",
    "plot": "analysis.plot",
    "presented_margins": "analysis.learning.margins",
    "proxy_agreement": "analysis.scoring.proxies",
    "rank_suspects": "analysis.scoring.suspects",
    "read_example_scores": "analysis.scoring.example_scores",
    "read_outputs": "analysis.reading.outputs",
    "removal_curve": "analysis.estimators.removal",
    "removal_on_tests": "analysis.estimators.removal_on_tests",
    "runs_needed": "analysis.estimators.standard_errors",
    "score_attributions": "analysis.influence.attributions.exam",
    "score_league": "analysis.scoring.league",
    "second_split_forgetting": "analysis.learning.second_split",
    "se_of_runs": "analysis.estimators.standard_errors",
    "unit_variance": "analysis.estimators.standard_errors",
    "with_removed_scores": "analysis.estimators.removed_scores",
    "without_empty_groups": "analysis.statistics.means",
    "write_estimates": "analysis.report.write_estimates",
    "write_influence_matrix": "analysis.influence.matrix_files",
    "write_removal": "analysis.estimators.removal",
}


def __getattr__(name: str) -> Any:
    """Import on first use: who reads counts need not wait for scipy, and who asks for a status not for pandas."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(_MODULES[name])
    value = globals()[name] = module if name == "plot" else getattr(module, name)
    return value
