"""Durations in the largest unit that fits."""

from collections.abc import Mapping

UNITS = {"days": 86_400, "hours": 3600, "minutes": 60}
"""Seconds of each unit, the largest first."""


def in_largest_unit(seconds: float, units: Mapping[str, int] = UNITS) -> tuple[float, str]:
    """The duration and its unit: the largest of `units` of which there are at least two, else `seconds`."""
    for unit, size in units.items():
        if seconds >= 2 * size:
            return seconds / size, unit
    return seconds, "seconds"
