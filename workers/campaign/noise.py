"""Noise that belongs to a campaign: labels, or pixels, of some training examples, drawn once for all runs."""

from typing import Annotated

from pydantic import Field, model_validator

from workers.campaign.field_types import LOCATION, PATH, ColumnName, Fraction, Frozen, PathText, Sha256


class LabelNoise(Frozen):
    """Some training labels replaced, once for the whole campaign, each uniformly by one of the other classes."""

    fraction: Fraction = 0.0
    """Share of the training examples whose given label differs from the data set's."""
    file: Annotated[PathText | None, Field(json_schema_extra=PATH)] = None
    """Given labels of your own in place of random ones: Parquet, CSV or npz, a path or a URI, with a row for each
    example as in `subsets.scores`. Read where the campaign is started, once: workers take labels from the store."""
    column: Annotated[ColumnName | None, Field(json_schema_extra=LOCATION)] = None
    """The column with the class numbers or class names; in an npz file the array."""
    sha256: Sha256 | None = None
    """Of the given labels as little-endian int64 in canonical order. Found out when the campaign starts, or given, so
    that other labels are refused."""

    @model_validator(mode="after")
    def _file_or_fraction(self) -> "LabelNoise":
        if (self.file is None) != (self.column is None):
            raise ValueError(f"file and column go together, got {'column' if self.file is None else 'file'} alone")
        if self.fraction and (self.file is not None or self.sha256 is not None):
            raise ValueError(f"fraction must be left out where a file has the labels, got {self.fraction:g}")
        if self.sha256 is not None and self.file is None:
            raise ValueError("sha256 needs file and column")
        return self


class ImageNoise(Frozen):
    """Gaussian noise in the pixels of some training images, drawn once for the whole campaign."""

    fraction: Fraction = 0.0
    """Share of the training examples whose images get it."""
    sd: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """Its standard deviation, of pixels from 0 to 1. Noisy pixels beyond that are cut to 0 and 1, and rounded as stored
    (256 levels); features of the user's own are not."""

    @model_validator(mode="after")
    def _fraction_and_sd(self) -> "ImageNoise":
        if (self.fraction > 0) != (self.sd > 0):
            raise ValueError(f"fraction and sd must both be greater than 0, got {self.fraction:g} and {self.sd:g}")
        return self
