"""A column of scores in a table of the user's: a number for each training example."""

from typing import Annotated

from pydantic import Field

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
