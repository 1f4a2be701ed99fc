"""Search space: fields of a campaign's recipe and model, and the values of each.

A space is a mapping of dotted fields to domains, in YAML

    recipe.optimizer.learning_rate: {log_uniform: [1e-3, 1]}
    recipe.batch_size: {choice: [64, 128]}
    model: {choice: [{name: mlp, hidden: [128]}, {name: small-cnn}]}

or the default one, made for a campaign.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from workers.campaign.campaign import Campaign
from workers.campaign.recipe import CosineSchedule, Schedule, StepSchedule, TriangularSchedule
from workers.campaign.short_repr import short
from workers.campaign.yaml_io import parse_mapping, read_text
from workers.errors import CampaignError

Kind = Literal["choice", "uniform", "log_uniform", "int_range", "log_int_range"]
_KINDS: tuple[Kind, ...] = ("choice", "uniform", "log_uniform", "int_range", "log_int_range")
_SECTIONS = ("recipe", "model")
_MAX_CHOICES = 1000
_DIGITS = 3
"""Significant digits of drawn real values."""


@dataclass(frozen=True)
class Domain:
    """The values that a field may take: those of a choice, or a range, both ends included."""

    kind: Kind
    values: tuple[Any, ...]
    """A choice's alternatives (plain data), or (lowest, highest)."""

    def draw(self, random: np.random.Generator) -> Any:
        """One value: uniform, uniform in the logarithm, or an alternative, each as likely."""
        if self.kind == "choice":
            return self.values[int(random.integers(len(self.values)))]
        low, high = self.values
        match self.kind:
            case "int_range":
                return int(random.integers(low, high + 1))
            case "log_int_range":
                drawn = math.exp(random.uniform(math.log(low - 0.5), math.log(high + 0.5)))
                return min(high, max(low, round(drawn)))
            case "uniform":
                drawn = random.uniform(low, high)
            case _:
                drawn = math.exp(random.uniform(math.log(low), math.log(high)))
        return min(high, max(low, float(f"{drawn:.{_DIGITS}g}")))

    def plain(self) -> dict[str, Any]:
        """As in YAML."""
        return {self.kind: list(self.values)}


Space = Mapping[str, Domain]
"""Dotted fields to domains."""


def read_space(path: Path) -> dict[str, Domain]:
    """Read a space from a YAML file; whether its fields exist is for `check_space`. Raises CampaignError."""
    source = str(path)
    document = parse_mapping(read_text(path), source, "fields such as recipe.batch_size: {choice: [64, 128]}")
    if not document:
        raise CampaignError(f"{source}: names no field to search")
    mistakes: list[str] = []
    space: dict[str, Domain] = {}
    for field, values in document.items():
        try:
            space[str(field)] = _domain(str(field), values)
        except ValueError as error:
            mistakes.append(f"{source}: {field}: {error}")
    if mistakes:
        raise CampaignError("\n".join(mistakes))
    return space


def default_space(campaign: Campaign, max_epochs: int, smallest_subset: int) -> dict[str, Domain]:
    """What is searched where nothing is said: how fast to learn, in what minibatches, on which schedule; not the model.

    Minibatches do not get smaller than the campaign's, since operations, which the search counts, hide what small
    steps cost. What changes the question more than the effort (model, augmentation, label noise) is left as it is.
    """
    recipe = campaign.recipe
    optimizer = recipe.optimizer
    rates = (optimizer.learning_rate / 10, min(1e6, optimizer.learning_rate * 10))
    sizes = [recipe.batch_size * factor for factor in (1, 2, 4)]
    sizes = [size for size in sizes if size <= max(smallest_subset, recipe.batch_size)]
    own = recipe.schedule.model_dump(mode="json")
    schedules = (
        [own] if isinstance(recipe.schedule, CosineSchedule) else [own, CosineSchedule(name="cosine").model_dump()]
    )
    return {
        "recipe.optimizer.learning_rate": Domain("log_uniform", rates),
        "recipe.optimizer.weight_decay": Domain("choice", tuple(sorted({0.0, 5e-4, optimizer.weight_decay}))),
        "recipe.batch_size": Domain("choice", tuple(sizes)),
        "recipe.schedule": Domain("choice", tuple(schedules)),
        "recipe.epochs": Domain("log_int_range", (_min_epochs(recipe.schedule, max_epochs), max_epochs)),
    }


def _min_epochs(schedule: Schedule, max_epochs: int) -> int:
    """A tenth of `max_epochs`, but at least the epochs that the campaign's own schedule needs."""
    own = 1
    match schedule:
        case TriangularSchedule():
            own = math.ceil(schedule.peak_epoch)
        case CosineSchedule():
            own = math.ceil(schedule.warmup_epochs)
        case StepSchedule():
            own = max(schedule.milestones, default=0) + 1
    return min(max_epochs, max(1, own, max_epochs // 10))


def check_space(space: Space, source: str, try_values: Callable[[Mapping[str, Any]], list[str]]) -> None:
    """Try every field at every alternative or at both ends of its range, with each of its parents' alternatives.

    `try_values` gives the mistakes of a campaign with these values. Raises CampaignError with one line per mistake.
    """
    mistakes: dict[str, None] = {}
    for field, domain in space.items():
        parents = {parent: space[parent] for parent in space if field.startswith(f"{parent}.")}
        for context in _combinations(parents):
            for value in domain.values:
                lines = try_values({**context, field: value})
                mistakes |= dict.fromkeys(f"{source}: {line}" for line in lines)
    if mistakes:
        raise CampaignError("\n".join(mistakes))


def with_values(document: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A campaign as plain data with fields replaced, outer ones first; the data given stay as they are."""
    changed: dict[str, Any] = _deep_copy(document)
    for field in sorted(values, key=lambda field: field.count(".")):
        *parents, name = field.split(".")
        target = changed
        for parent in parents:
            inner = target.get(parent)
            target[parent] = inner if isinstance(inner, dict) else {}
            target = target[parent]
        target[name] = _deep_copy(values[field])
    return changed


def _combinations(domains: Space) -> Iterator[dict[str, Any]]:
    if not domains:
        yield {}
        return
    (field, domain), *rest = domains.items()
    for others in _combinations(dict(rest)):
        for value in domain.values:
            yield {field: value, **others}


def _deep_copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _deep_copy(item) for key, item in value.items()}
    return [_deep_copy(item) for item in value] if isinstance(value, list | tuple) else value


def _domain(field: str, document: Any) -> Domain:
    """Raises ValueError: what is allowed, and what was given."""
    if field.split(".")[0] not in _SECTIONS:
        raise ValueError("must be a field of recipe or model, such as recipe.optimizer.learning_rate or model.hidden")
    if not isinstance(document, dict) or len(document) != 1 or next(iter(document)) not in _KINDS:
        raise ValueError(f"must be a mapping with one of {', '.join(_KINDS)}, got {short(document)}")
    ((kind, values),) = document.items()
    if kind == "choice":
        if not isinstance(values, list) or not 1 <= len(values) <= _MAX_CHOICES:
            raise ValueError(f"choice must be a list of 1 to {_MAX_CHOICES} values, got {short(values)}")
        return Domain("choice", tuple(values))
    integer = kind in ("int_range", "log_int_range")
    kinds = (int,) if integer else (int, float)
    numbers = isinstance(values, list) and len(values) == 2 and all(type(value) in kinds for value in values)
    if not numbers or not all(map(math.isfinite, values)) or not values[0] < values[1]:
        what = "whole numbers" if integer else "numbers"
        raise ValueError(f"{kind} must be two {what} [lowest, highest], got {short(values)}")
    if kind.startswith("log") and values[0] <= 0:
        raise ValueError(f"{kind} must be of numbers greater than 0, got {short(values)}")
    return Domain(kind, tuple(values) if integer else tuple(map(float, values)))
