"""Values of the searched fields as JSON, as table cells, and as text."""

from collections.abc import Mapping, Sequence
from typing import Any

from workers.campaign.campaign import Campaign


def field_values(campaign: Campaign, fields: Sequence[str]) -> dict[str, Any]:
    """The values of fields such as `recipe.batch_size` in a campaign, as JSON; None where it has no such field."""
    document = campaign.model_dump(mode="json")
    return {field: _value(document, field) for field in fields}


def scalar(value: Any) -> Any:
    """A value as a column or a hyperparameter can hold it: what is not a number is text."""
    return value if value is None or isinstance(value, int | float) else short_value(value)


def short_value(value: Any) -> str:
    """A value as text: a mapping by its name and what is set in it."""
    if isinstance(value, Mapping):
        shown = {key: item for key, item in value.items() if key != "name" and item not in (0, None)}
        inner = ", ".join(f"{key} {short_value(item)}" for key, item in shown.items())
        return f"{value.get('name', '')}" + (f" ({inner})" if inner else "")
    return f"{value:g}" if isinstance(value, float) else str(value)


def values_text(values: Mapping[str, Any]) -> str:
    """Where a candidate differs from the campaign given, in words; `values` is empty for the one given."""
    if not values:
        return "as given"
    return ", ".join(f"{field.rpartition('.')[2]} {short_value(value)}" for field, value in values.items())


def _value(document: Any, field: str) -> Any:
    for part in field.split("."):
        document = document.get(part) if isinstance(document, Mapping) else None
    return document
