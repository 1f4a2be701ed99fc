"""Longtail's exceptions. Each also inherits from the built-in exception that fits."""

from typing import Final

__all__ = [
    "CampaignError",
    "CommandError",
    "ConflictError",
    "DamagedDataError",
    "DamagedFileError",
    "DataError",
    "EstimateError",
    "LongtailError",
    "MissingFileError",
    "MissingPackageError",
    "ModelError",
    "NoEstimateError",
    "NoStoreError",
    "OutputError",
    "ReadOnlyError",
    "ReplayMismatchError",
    "StoreError",
    "StoreMismatchError",
    "TooManyPairsError",
    "UserCodeError",
]

FAILED: Final = 1
"""Exit code: something failed or is damaged; the command and the campaign file may stay as they are."""

MISTAKE: Final = 2
"""Exit code: the command or the campaign file must be changed."""


class LongtailError(Exception):
    """Base class of errors that the user can fix. The text is the whole message: one line, or one line per mistake.

    `exit_code` is the command's: 2 where the command or the campaign file must be changed, 1 where something that they
    ask for rightly has failed or is damaged. A class has its own; a single error may have another.
    """

    exit_code = FAILED


class CampaignError(LongtailError, ValueError):
    """A campaign that cannot be run as written: the field, what was given, what is allowed."""

    exit_code = MISTAKE


class CommandError(LongtailError, ValueError):
    """A command that cannot be done as written: the option, what was given, what is allowed."""

    exit_code = MISTAKE


class OutputError(LongtailError):
    """Standard output cannot be written."""


class DataError(LongtailError, ValueError):
    """A data set that is not where or what the campaign says, or a file of a command's that is not."""

    exit_code = MISTAKE


class DamagedDataError(DataError):
    """Data that are where they should be and cannot be read: damaged files, a cache that cannot be written."""

    exit_code = FAILED


class ModelError(LongtailError, ValueError):
    """A model that cannot be built, or trained, for this data set."""

    exit_code = MISTAKE


class MissingPackageError(LongtailError, ImportError):
    """A package that this needs and that is not installed: the message names the extra of Longtail that installs it."""

    exit_code = MISTAKE


class StoreError(LongtailError, OSError):
    """A store that cannot be read or written: missing, unreachable, read-only, full. `hint`: what helps, if known."""

    def __init__(self, *args: object, hint: str | None = None) -> None:
        super().__init__(*args)
        self.hint = hint

    @property
    def problem(self) -> str:
        """The message without the hint."""
        return str(self.args[0]) if self.args else ""

    def __str__(self) -> str:
        return f"{self.problem} ({self.hint})" if self.hint else self.problem


class ReadOnlyError(StoreError):
    """A place that can be read, and refuses to be written: read-only, or somebody else's."""


class NoStoreError(StoreError):
    """A place that a command names and that is no store, or that cannot be one."""

    exit_code = MISTAKE


class MissingFileError(StoreError):
    """A file that was there, or should be, is not."""


class StoreMismatchError(StoreError):
    """The store belongs to another campaign or to other data; the message names what differs."""

    exit_code = MISTAKE


class ConflictError(StoreError):
    """A file of the same name with different content is already committed."""


class ReplayMismatchError(StoreError):
    """A replayed run differs from its record. The message lists the differences and the possible cause."""


class DamagedFileError(StoreError):
    """A committed file that is truncated, altered, or not one of ours."""


class EstimateError(LongtailError, ValueError):
    """An estimate that was requested wrongly, or that no store of its campaign has: what was given and is allowed."""

    exit_code = MISTAKE


class NoEstimateError(EstimateError):
    """An estimate that cannot be had now: no runs yet, too few, all diverged, or no room to write it."""

    exit_code = FAILED


class SharedSubsetsError(EstimateError):
    """An estimate takes runs for independent, and several runs share a subset (`subsets.replicates`)."""


class TooManyPairsError(EstimateError):
    """More pairs reach a threshold than were allowed for."""


class UserCodeError(LongtailError, RuntimeError):
    """Code of the campaign's own did what would have ended the command as if all were well, such as SystemExit."""
