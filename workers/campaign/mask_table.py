"""Masks of the user's own: which training examples each run is trained on, in a file."""

from collections.abc import Sequence
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


def check_masks_of_design(design: str, masks: MaskTable | None, ratios: Sequence[float]) -> None:
    """Raise ValueError where a design has no masks that needs them, or the other way round, or ratios beside them."""
    if design == "masks" and masks is None:
        raise ValueError("the design masks needs masks, got none")
    if design != "masks" and masks is not None:
        raise ValueError(f"masks must be left out, or the design be masks, got {design}")
    if masks is not None and len(ratios) > 1:
        raise ValueError(f"ratios must be left out beside masks, whose mean size is the one, got {len(ratios)}")
