"""Errors about store files, with the command that repairs them."""

from workers.errors import DamagedFileError, MissingFileError
from workers.store.files.base import Files

EXAMPLES = "examples.parquet"
MISSING = "is missing"
FOREIGN = "belongs to another campaign"
DIVERGED = "a lower learning rate, warm-up or float32 usually helps"
"""What helps where runs diverged."""
RESTORE = "restore it from a copy: no other file identifies the campaign"
"""What helps where campaign.json cannot be used."""
_REWRITTEN = "rerun the same longtail run (or import) to recreate it"

_AGAIN = {
    "results": "rerun the same longtail run (or import) to recreate it",
    "examples.parquet": "rerun the same longtail run (or import) to recreate it",
    "estimates": "rerun the command that wrote it",
    "targets": "the next request writes a new one",
    "failures": "no other file depends on it",
}
"""By folder, or file: what is to be done once a damaged file is set aside."""


def damaged(files: Files, path: str, problem: str) -> DamagedFileError:
    """That a file is damaged. Of campaign.json nothing can be made again."""
    again = _AGAIN.get(path.partition("/")[0])
    cure = f"longtail verify {files.uri} --repair sets it aside; {again}" if again else None
    if problem == MISSING:
        cure = _REWRITTEN
    place = files.location(path)
    return DamagedFileError(f"{place}: {problem.removeprefix(f'{place}: ')}", cure=cure)


def missing(files: Files, path: str) -> MissingFileError:
    """That a file is missing."""
    return MissingFileError(f"{files.location(path)}: {MISSING}", cure=_REWRITTEN if path == EXAMPLES else None)
