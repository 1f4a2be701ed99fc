"""Columns of probes: their names, types, and named axes, as campaign.json declares them."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from workers.campaign.field_types import Frozen

MAX_VALUES = 1 << 24
"""Values of one probe column in a row; more are a mistake, or meant to fill a reader's memory."""

PROBE_PREFIX = "probe_"
"""Of the names of all columns that probes fill."""

CENSORED = -2
"""In `probe_neurons_units`: the search ended without a flip. Missing values are -1."""

Label = Annotated[str, Field(max_length=500)] | Annotated[int, Field(ge=-(2**31), lt=2**31)]
DType = Literal["bool", "int16", "int32", "float32"]

ARROW_TYPES: Mapping[DType, pa.DataType] = {
    "bool": pa.bool_(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "float32": pa.float32(),
}
_MISSING: Mapping[DType, Any] = {"bool": False, "int16": -1, "int32": -1, "float32": math.nan}


class ProbeAxis(Frozen):
    """An axis of a probe's column: its name, and the label of each position (a layer's name, an epoch)."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z_]*$", max_length=50)]
    labels: Annotated[tuple[Label, ...], Field(strict=False, min_length=1)] | Annotated[int, Field(ge=1, le=MAX_VALUES)]
    """A number n stands for the labels 0..n-1."""

    @property
    def size(self) -> int:
        """The number of positions."""
        return self.labels if isinstance(self.labels, int) else len(self.labels)

    def values(self) -> Sequence[str | int]:
        """The label of each position."""
        return range(self.labels) if isinstance(self.labels, int) else self.labels


class ProbeColumn(Frozen):
    """A column of results that a probe fills in a run's last row. In other rows, and in runs that are not measured,
    every value is missing: NaN, -1 or false."""

    name: Annotated[str, Field(pattern=r"^probe_[a-z][a-z0-9_]*$", max_length=100)]
    dtype: DType
    axes: Annotated[tuple[ProbeAxis, ...], Field(strict=False, min_length=1, max_length=6)]

    @model_validator(mode="after")
    def _not_too_large(self) -> "ProbeColumn":
        if self.width > MAX_VALUES:
            raise ValueError(f"{self.name} must have at most {MAX_VALUES:,} values, got {self.width:,}")
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the values in memory."""
        return tuple(axis.size for axis in self.axes)

    @property
    def width(self) -> int:
        """Values in a row."""
        return math.prod(self.shape)

    def missing(self) -> npt.NDArray[Any]:
        """The values of a row that was not measured."""
        return np.full(self.shape, _MISSING[self.dtype], dtype=self.dtype)


def axis(name: str, labels: Sequence[str | int] | int) -> ProbeAxis:
    """An axis with these labels; a number n stands for the labels 0..n-1."""
    return ProbeAxis(name=name, labels=labels if isinstance(labels, int) else tuple(labels))


class ProbedTensor(Frozen):
    """A trained parameter: the layer that it is part of, and its number of values."""

    name: Annotated[str, Field(max_length=500)]
    layer: Annotated[str, Field(max_length=500)]
    size: Annotated[int, Field(ge=1)]


class ProbeForm(Frozen):
    """The columns of results that a store's probes fill, and the model's trained parameters in their order."""

    columns: Annotated[tuple[ProbeColumn, ...], Field(strict=False, min_length=1, max_length=100)]
    layers: Annotated[tuple[Annotated[str, Field(max_length=500)], ...], Field(strict=False, max_length=100_000)]
    """Names, in the order of the forward pass."""
    tensors: Annotated[tuple[ProbedTensor, ...], Field(strict=False, max_length=100_000)]

    @model_validator(mode="after")
    def _distinct(self) -> "ProbeForm":
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            raise ValueError(f"columns must have names that are all different, got {', '.join(names)}")
        if sum(column.width for column in self.columns) > MAX_VALUES:
            raise ValueError(f"columns must have at most {MAX_VALUES:,} values in all")
        return self

    def column(self, name: str) -> ProbeColumn | None:
        """The column of that name."""
        return next((column for column in self.columns if column.name == name), None)
