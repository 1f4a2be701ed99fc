"""What analysis raises on purpose."""

from workers.errors import FAILED, MISTAKE, LongtailError


class EstimateError(LongtailError, ValueError):
    """An estimate that was asked for wrongly, or that no store of its campaign has: what was given and is allowed."""

    exit_code = MISTAKE


class NoEstimateError(EstimateError):
    """An estimate that cannot be had now: no runs yet, too few, all diverged, or no room to write it."""

    exit_code = FAILED


class TooManyPairsError(EstimateError):
    """More pairs reach a threshold than were allowed for."""
