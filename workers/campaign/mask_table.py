"""Masks of the user's own: which training examples each run is trained on, in a file."""

from typing import Annotated

from pydantic import Field

from workers.campaign.field_types import LOCATION, PATH, ColumnName, Frozen, PathText, Sha256

MAX_MASKS = 1_000_000


class MaskTable(Frozen):
    """A matrix of truth values [R, N], a row for each subset: the examples in canonical order."""

    file: Annotated[PathText, Field(json_schema_extra=PATH)]
    """npz or Parquet: a path or a URI. Read where the campaign is started, once: workers take masks from the store."""
    column: Annotated[ColumnName, Field(json_schema_extra=LOCATION)] = "masks"
    """The array in an npz file; in a Parquet file the column, of lists of N values."""
    sha256: Sha256 | None = None
    """Of the masks. Found out when the campaign starts, or given, so that other masks are refused."""
    count: Annotated[int | None, Field(ge=1, le=MAX_MASKS, json_schema_extra=LOCATION)] = None
    """R. Found out when the campaign starts, like the following."""
    smallest: Annotated[int | None, Field(ge=1, json_schema_extra=LOCATION)] = None
    """Examples of the smallest mask."""
    largest: Annotated[int | None, Field(ge=1, json_schema_extra=LOCATION)] = None
    """Examples of the largest mask."""
