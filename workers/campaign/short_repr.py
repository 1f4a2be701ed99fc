"""A value as an error message quotes it."""

from typing import Any


def short(value: Any) -> str:
    """repr, cut to 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
