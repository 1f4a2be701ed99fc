"""The work of a run: forward passes of one example, or what takes as long."""

from workers.campaign.campaign import Campaign
from workers.campaign.lr_schedule import examples_per_epoch
from workers.store import Header
from workers.subsets.draw import subset_size
from workers.training.probes.cost import TRAINING_PASSES, probe_passes


def forward_passes(campaign: Campaign, ratio_ppm: int, header: Header) -> float:
    """Forward passes of one run at a ratio (parts per million), or what takes as long."""
    trained = campaign.recipe.epochs * examples_per_epoch(campaign.recipe, subset_size(ratio_ppm, header.num_train))
    passes = 2 if campaign.recipe.evaluation_flip else 1
    evaluated = len(campaign.recorded_epochs()) * passes * (header.num_train + header.num_test)
    layers = 0 if header.probes is None else len(header.probes.layers)
    size, examples = subset_size(ratio_ppm, header.num_train), header.num_train + header.num_test
    probed = measured_share(campaign) * probe_passes(campaign, layers, size, examples)
    return TRAINING_PASSES * trained + evaluated + probed


def measured_share(campaign: Campaign) -> float:
    """The share of a ratio's runs that probes measure."""
    probes, repetitions = campaign.record.probes, campaign.subsets.repetitions
    return 0.0 if probes is None else min(1.0, probes.repetitions / repetitions)
