"""Makes the columns of probes, and refuses those that would be too wide."""

from collections.abc import Sequence

from pydantic import ValidationError

from workers.errors import CampaignError
from workers.store.probe_columns import DType, ProbeAxis, ProbeColumn, axis
from workers.training.probes.base import ProbeShape


def layer_axis(shape: ProbeShape) -> ProbeAxis:
    """The axis of the model's layers, by name."""
    return axis("layer", [layer.name for layer in shape.layers])


def probe_column(name: str, dtype: DType, axes: Sequence[ProbeAxis], field: str) -> ProbeColumn:
    """A column with these axes. Raises CampaignError, which names the campaign's `field`, where it is too wide."""
    try:
        return ProbeColumn(name=name, dtype=dtype, axes=tuple(axes))
    except ValidationError as error:
        message = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise CampaignError(f"{field}: {message}") from error
