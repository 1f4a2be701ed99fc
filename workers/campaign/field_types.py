"""Types and marks of fields that several parts of a campaign have."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, JsonValue


class Frozen(BaseModel):
    """Base of every part of a campaign: immutable, unknown keys refused, no silent conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)


Fraction = Annotated[float, Field(ge=0, le=1)]
Epochs = Annotated[int, Field(ge=1, le=100_000)]
PathText = Annotated[str, Field(min_length=1, max_length=4096)]
ImportPath = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", max_length=500)]
Size = Annotated[int, Field(ge=1, le=1024)]
Width = Annotated[int, Field(ge=1, le=65_536)]
CampaignName = Annotated[str, Field(min_length=1, max_length=200)]
ColumnName = Annotated[str, Field(min_length=1, max_length=500)]

LOCATION: dict[str, JsonValue] = {"location": True}
"""Marks a field that says where data lie, not what they are: the campaign's identity leaves it out."""
TITLE: dict[str, JsonValue] = {**LOCATION}
"""Marks a field that says what a campaign is called: the identity leaves it out as well."""
PATH: dict[str, JsonValue] = {**LOCATION, "path": True}
"""Marks a location that is a path or a URI. In a campaign file paths are relative to the file's folder."""


def _sha256(text: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise ValueError(f"must be 64 digits of 0-9 and a-f, got {text[:80]!r}")
    return text


Sha256 = Annotated[str, AfterValidator(_sha256)]


def by_name(names: dict[str, str]) -> Discriminator:
    """The kind of a specification by its `name`: `custom` where that is a function, else what `names` has for it."""

    def tag_of(value: Any) -> str | None:
        name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
        if not isinstance(name, str):
            return None
        return "custom" if ":" in name else names.get(name)

    return Discriminator(tag_of)
