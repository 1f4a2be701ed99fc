"""Errors about store files, with the command that repairs them."""

from workers.errors import DamagedFileError, MissingFileError
from workers.store.files.base import Files

EXAMPLES_FILE = "examples.parquet"
MISSING = "is missing"
OTHER_CAMPAIGN = "belongs to another campaign"
DIVERGENCE_HINT = "a lower learning rate, warm-up or float32 usually helps"
"""What helps where runs diverged."""
RESTORE_HINT = "restore it from a copy: no other file identifies the campaign"
"""What helps where campaign.json cannot be used."""
_RECREATE_HINT = "rerun the same longtail run (or import) to recreate it"

_HINTS_AFTER_REPAIR = {
    "results": "rerun the same longtail run (or import) to recreate it",
    "examples.parquet": "rerun the same longtail run (or import) to recreate it",
    "estimates": "rerun the command that wrote it",
    "targets": "the next request writes a new one",
    "failures": "no other file depends on it",
}
"""By folder, or file: what is to be done once a damaged file is set aside."""


def damaged_file_error(files: Files, path: str, problem: str) -> DamagedFileError:
    """The error for a damaged file. A damaged campaign.json cannot be repaired."""
    again = _HINTS_AFTER_REPAIR.get(path.partition("/")[0])
    hint = f"longtail verify {files.uri} --repair sets it aside; {again}" if again else None
    if problem == MISSING:
        hint = _RECREATE_HINT
    place = files.location(path)
    return DamagedFileError(f"{place}: {problem.removeprefix(f'{place}: ')}", hint=hint)


def missing_file_error(files: Files, path: str) -> MissingFileError:
    """The error for a missing file."""
    return MissingFileError(
        f"{files.location(path)}: {MISSING}", hint=_RECREATE_HINT if path == EXAMPLES_FILE else None
    )
