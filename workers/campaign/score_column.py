"""Columns of scores in tables of the user's: a number for each training example."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Discriminator, Field, Tag

from workers.campaign.field_types import LOCATION, PATH, ColumnName, Frozen, PathText, Sha256


class ScoreColumn(Frozen):
    """A number for each training example: a column of a table, such as those that `longtail estimate` writes.

    Rows are told by a column `example_id`, in any order; without one they are in canonical order.
    """

    file: Annotated[PathText, Field(json_schema_extra=PATH)]
    """Parquet, CSV or npz: a path or a URI. Read where the campaign is started, once: workers take scores from the
    store."""
    column: Annotated[ColumnName, Field(json_schema_extra=LOCATION)]
    """In an npz file the array, which is in canonical order."""
    ratio: Annotated[float | None, Field(gt=0, le=1, json_schema_extra=LOCATION)] = None
    """The rows to take of a table that has some at several ratios (column `ratio`)."""
    sha256: Sha256 | None = None
    """Of the scores as little-endian float64 in canonical order. Found out when the campaign starts, or given, so that
    other scores are refused."""


UNNAMED = ""
"""The name of a campaign's only column, which `scores` gives without one."""


def _name(text: str) -> str:
    if not re.fullmatch("[a-z][a-z0-9_]{0,39}", text):
        raise ValueError(f"must be a name of 1 to 40 of a-z, 0-9 and _, a letter first, got {text[:80]!r}")
    return text


ScoreName = Annotated[str, AfterValidator(_name)]
"""Which of several columns a rule goes by."""


def _form(value: Any) -> str:
    """Whether `scores` is one column or columns by name, whose values are all mappings."""
    named = isinstance(value, dict) and value and all(isinstance(each, dict | ScoreColumn) for each in value.values())
    return "named" if named else "one"


ScoreColumns = Annotated[
    Annotated[ScoreColumn, Tag("one")] | Annotated[dict[ScoreName, ScoreColumn], Field(max_length=100), Tag("named")],
    Discriminator(_form),
]
"""One column, or several by name."""
