"""Reduces a store to estimates: memorization, influence, consistency, C-score. Needs nothing but the store."""

from analysis.bits import PackedBits, RatioBits, pack_runs
from analysis.consistency import consistency_profile, cscore
from analysis.counts import RatioCounts, StoreCounts, count_runs
from analysis.datamodels import Datamodels, fit_datamodels
from analysis.errors import EstimateError, TooManyPairsError
from analysis.estimates import write_estimates
from analysis.high_influence import influential_pairs
from analysis.influence import influence_matrix, influence_pairs, influence_top
from analysis.memorization import estimate_memorization
from analysis.outputs import RatioOutputs, read_outputs
from analysis.view import StoreView, open_store

__all__ = [
    "Datamodels",
    "EstimateError",
    "PackedBits",
    "RatioBits",
    "RatioCounts",
    "RatioOutputs",
    "StoreCounts",
    "StoreView",
    "TooManyPairsError",
    "consistency_profile",
    "count_runs",
    "cscore",
    "estimate_memorization",
    "fit_datamodels",
    "influence_matrix",
    "influence_pairs",
    "influence_top",
    "influential_pairs",
    "open_store",
    "pack_runs",
    "read_outputs",
    "write_estimates",
]
