"""Refuses groups of examples of which one is empty: probes would have nothing to compare."""

from workers.campaign.campaign import Campaign
from workers.campaign.probes import ScoreSplit
from workers.common.arrays import Floats
from workers.errors import CampaignError


def compares_noise(campaign: Campaign) -> bool:
    """Whether probes compare examples by their given labels."""
    probes, noise = campaign.record.probes, campaign.label_noise
    if probes is None or not probes.needs_groups or probes.split is not None:
        return False
    return noise.fraction > 0 or noise.file is not None


def check_noise(noisy: int, count: int) -> None:
    """Raise CampaignError where none, or all, of `count` given labels are noisy."""
    if noisy in (0, count):
        empty = "clean" if noisy else "noisy"
        raise CampaignError(
            f"label_noise: leaves no {empty} example for record.probes to compare: "
            f"{noisy:,} of {count:,} given labels are not the data set's"
        )


def check_split(split: ScoreSplit, scores: Floats) -> None:
    """Raise CampaignError where none, or all, of float64[N] scores are atypical."""
    atypical = int(split.members(scores).sum())
    if atypical in (0, len(scores)):
        field, empty = str(split).split()[0], "typical" if atypical else "atypical"
        raise CampaignError(
            f"record.probes.split.{field}: leaves no {empty} example: {atypical:,} of {len(scores):,} scores are "
            f"{split}, and column {split.scores.column} is from {scores.min():g} to {scores.max():g}"
        )
