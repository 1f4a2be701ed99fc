"""The campaign: the immutable description of all runs, and its identity."""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field

from workers.recipe import Fraction, Frozen, Recipe
from workers.specs import DatasetSpec, Digits, MLP, ModelSpec

FORMAT = 1
"""Version of the meaning of a campaign's fields; part of the identity."""

PARTS = 1_000_000
"""Ratios are whole parts per million, so that they are exact as keys, seeds and file names."""

MAX_REPETITIONS = 1_000_000


def parts_per_million(ratio: float) -> int:
    """The ratio in parts per million, exactly (0.7 -> 700000). Raises ValueError where it is not a whole number."""
    parts = round(ratio * PARTS)
    if abs(ratio * PARTS - parts) > 1e-6 * max(1, parts) or not 1 <= parts <= PARTS:
        raise ValueError(f"must be greater than 0, at most 1, with at most 6 decimals, got {ratio!r}")
    return parts


def _exact_ratio(ratio: float) -> float:
    return parts_per_million(ratio) / PARTS


def _distinct(ratios: tuple[float, ...]) -> tuple[float, ...]:
    if len(set(ratios)) != len(ratios):
        raise ValueError(f"must be different from each other, got {list(ratios)}")
    return ratios


Ratio = Annotated[float, AfterValidator(_exact_ratio)]
Ratios = Annotated[tuple[Ratio, ...], Field(strict=False, min_length=1, max_length=1000), AfterValidator(_distinct)]


class LabelNoise(Frozen):
    """Some training labels replaced, once for the whole campaign, each uniformly by one of the other classes."""

    fraction: Fraction = 0.0
    """Share of the training examples whose given label differs from the data set's."""


class Subsets(Frozen):
    """Which subsets the models are trained on, and how many."""

    design: Literal["uniform"] = "uniform"
    """`uniform`: each subset is drawn uniformly among all subsets of its size, floor(ratio x N)."""
    ratios: Ratios
    """Subset size over the number of training examples; each ratio has its own independent subsets."""
    repetitions: Annotated[int, Field(ge=1, le=MAX_REPETITIONS)]
    """Runs at each ratio."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0


class Record(Frozen):
    """Which epochs' correctness is stored."""

    epochs: Literal["final", "all"] | Annotated[int, Field(ge=1, le=100_000)] = "final"
    """`final`; `all`; or a number k for every k-th epoch. The last epoch is always stored."""


class Campaign(Frozen):
    """A campaign file's content. Frozen; equal campaigns train bit-identical models on the same hardware and versions."""

    dataset: DatasetSpec = Digits()
    model: ModelSpec = MLP()
    recipe: Recipe
    label_noise: LabelNoise = LabelNoise()
    subsets: Subsets
    record: Record = Record()

    def science(self) -> dict[str, Any]:
        """What decides every result, as plain data: no locations, and not how many runs there are (ratios, repetitions)."""
        plain = _without_locations(self)
        plain["subsets"] = {"design": self.subsets.design, "seed": self.subsets.seed}
        return plain

    def identity(self, fingerprint: str) -> str:
        """SHA-256 (hex) of the science and of the data set's fingerprint: equal for runs that may share a store."""
        document = {"format": FORMAT, "fingerprint": fingerprint, "science": self.science()}
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()

    def recorded_epochs(self) -> tuple[int, ...]:
        """The epochs (from 1) whose correctness is stored, ascending; the last is always among them."""
        last, rule = self.recipe.epochs, self.record.epochs
        if rule == "final":
            return (last,)
        step = 1 if rule == "all" else int(rule)
        return tuple(sorted({*range(step, last + 1, step), last}))

    def with_subsets(self, *, repetitions: int | None = None) -> "Campaign":
        """The same campaign with another number of repetitions."""
        if repetitions is None:
            return self
        plain = self.model_dump()
        plain["subsets"]["repetitions"] = repetitions
        return Campaign.model_validate(plain)


def _without_locations(part: BaseModel) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, field in type(part).model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and extra.get("location"):
            continue
        value = getattr(part, name)
        kept[name] = _without_locations(value) if isinstance(value, BaseModel) else _plain(value)
    return kept


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def differences(ours: dict[str, Any], theirs: dict[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    """(dotted field, ours, theirs) for every leaf at which two plain documents differ; None where one lacks the field."""
    found: list[tuple[str, Any, Any]] = []
    for key in sorted({*ours, *theirs}):
        a, b = ours.get(key), theirs.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{prefix}{key}.")
        elif a != b or type(a) is not type(b):
            found.append((f"{prefix}{key}", a, b))
    return found
