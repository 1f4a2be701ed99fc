"""Candidate recipes of a search: candidate k depends on the search's seed and on k alone."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import ValidationError

from orchestrator.tuning.space import Space, with_values
from workers.campaign.campaign import Campaign
from workers.campaign.lr_schedule import steps_per_epoch
from workers.campaign.plural import count_text
from workers.campaign.recipe import ConstantSchedule, StepSchedule
from workers.campaign.validation_messages import explain_mistakes
from workers.campaign.yaml_io import check_campaign
from workers.errors import CampaignError

_MAX_DRAWS = 200
"""Values that do not go together (a peak after the last epoch) are drawn again, this often at most."""

_SEED_STREAM = 0x74756E65
"""Sets the streams of a search apart from those of every campaign, whose purposes are small numbers."""


@dataclass(frozen=True)
class Candidate:
    """A campaign with a recipe to try, and where it differs from the one given; number 0 is that one itself.

    A limit on epochs cuts number 0, too, where its schedule allows it.
    """

    number: int
    values: Mapping[str, Any]
    campaign: Campaign

    @property
    def until_fit(self) -> bool:
        """Whether training ends once the models fit, which finds the epochs. The recipe given has its own."""
        return self.number > 0 and is_open_ended(self.campaign)


def is_open_ended(campaign: Campaign) -> bool:
    """Whether the schedule is the same however many epochs follow: training for fewer is the same, cut short.

    Of other schedules the number of epochs is part of the recipe, to be searched with the rest of it.
    """
    return isinstance(campaign.recipe.schedule, ConstantSchedule | StepSchedule)


def tuning_seed(campaign: Campaign, seed: int) -> int:
    """The campaign seed of a search's own runs: no subset, starting weight or order is one of the campaign's."""
    sequence = np.random.SeedSequence(campaign.subsets.seed, spawn_key=(_SEED_STREAM, seed))
    return int(sequence.generate_state(1, np.uint64)[0] >> 1)


def draw_candidates(
    campaign: Campaign, space: Space, *, trials: int, seed: int, max_epochs: int, smallest_subset: int
) -> list[Candidate]:
    """The campaign's own recipe, then `trials` - 1 drawn ones. Raises CampaignError where none can be drawn."""
    return [_draw(campaign, space, number, seed, max_epochs, smallest_subset) for number in range(trials)]


def value_mistakes(campaign: Campaign, values: Mapping[str, Any]) -> list[str]:
    """What is wrong with each value by itself: not whether they go together, which drawing again mends."""
    document = with_values(campaign.model_dump(mode="json"), values)
    try:
        Campaign.model_validate_json(json.dumps(document))
    except ValidationError as error:
        alone = [mistake for mistake in error.errors(include_url=False) if mistake["type"] != "value_error"]
        return explain_mistakes(alone, document)
    return []


def with_epochs(campaign: Campaign, epochs: int) -> Campaign:
    """The campaign with that many epochs; what a step schedule would do after them is left out."""
    document = campaign.model_dump(mode="json")
    document["recipe"]["epochs"] = epochs
    schedule = document["recipe"]["schedule"]
    if "milestones" in schedule:
        schedule["milestones"] = [each for each in schedule["milestones"] if each < epochs]
    return check_campaign(document)


def _draw(campaign: Campaign, space: Space, number: int, seed: int, max_epochs: int, smallest: int) -> Candidate:
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(_SEED_STREAM, number))))
    document = campaign.model_dump(mode="json")
    first: CampaignError | None = None
    if number == 0:
        return _candidate(number, document, {}, max_epochs, smallest)
    for _ in range(_MAX_DRAWS):
        values = {field: space[field].draw(random) for field in sorted(space)}
        try:
            return _candidate(number, document, values, max_epochs, smallest)
        except CampaignError as error:
            first = first or error
    raise CampaignError(f"space: {_MAX_DRAWS} draws made no recipe that can be trained; the first: {first}") from first


def _candidate(
    number: int, document: dict[str, Any], values: Mapping[str, Any], max_epochs: int, smallest: int
) -> Candidate:
    drawn = check_campaign(with_values(document, values))
    if is_open_ended(drawn):
        # The search finds the epochs: training goes on until the models fit.
        values = {field: value for field, value in values.items() if field != "recipe.epochs"}
        if number == 0 and drawn.recipe.epochs > max_epochs:
            values = {"recipe.epochs": max_epochs}
        drawn = with_epochs(drawn, max_epochs if number else min(max_epochs, drawn.recipe.epochs))
    elif drawn.recipe.epochs > max_epochs:
        raise CampaignError(f"recipe.epochs: must be at most --max-epochs {max_epochs}, got {drawn.recipe.epochs}")
    if steps_per_epoch(drawn.recipe, smallest) == 0:
        raise CampaignError(
            f"recipe.drop_last: leaves no minibatch of {drawn.recipe.batch_size} in {count_text(smallest, 'example')}"
        )
    return Candidate(number, values, drawn)
