"""Experiments of the papers: each trains the campaigns that it needs, and says what came of them."""

from collections.abc import Callable

from benchmarks.replicate.experiments import (
    adaptive,
    architectures,
    forgetting,
    influence,
    last_layer,
    localization,
    outputs,
    pairs,
    regularity,
)
from benchmarks.replicate.lab import Lab, Outcome

EXPERIMENTS: dict[str, Callable[[Lab], Outcome]] = {
    "memorized": influence.memorized,
    "pairs": pairs.pairs,
    "pair-agreement": pairs.pair_agreement,
    "pair-removal": pairs.pair_removal,
    "utility": influence.utility,
    "architectures": architectures.architectures,
    "last-layer": last_layer.last_layer,
    "cscores": regularity.cscores,
    "held-out-accuracy": regularity.held_out_accuracy,
    "learning-speed": regularity.learning_speed,
    "proxies": regularity.proxies,
    "filtering": regularity.filtering,
    "noise": regularity.noise,
    "curriculum": adaptive.curriculum,
    "collection": adaptive.collection,
    "unforgettable": forgetting.unforgettable,
    "forgetting-seeds": forgetting.seeds,
    "forgetting-noise": forgetting.noise,
    "forgetting-pixel-noise": forgetting.pixel_noise,
    "forgetting-removal": forgetting.removal,
    "margins": forgetting.margins,
    "partitions": forgetting.partitions,
    "gradients": localization.gradients,
    "rewinding": localization.rewinding,
    "retraining": localization.retraining,
    "neurons": localization.neurons,
    "tied-dropout": localization.tied_dropout,
    "datamodels": outputs.datamodels,
}
"""By the name that a row gives."""
