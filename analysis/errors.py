"""What analysis raises on purpose."""

from workers.errors import LongtailError


class EstimateError(LongtailError, ValueError):
    """An estimate that was asked for wrongly or that the store has no data for: what was given, what is allowed."""


class TooManyPairsError(EstimateError):
    """More pairs reach a threshold than were allowed for."""
