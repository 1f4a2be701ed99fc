"""Errors about a store's files, with the command that helps."""

from workers.errors import DamagedFileError, MissingFileError
from workers.store.files.base import Files

EXAMPLES = "examples.parquet"

_AGAIN = {
    "results": "the same longtail run (or import) then makes it again",
    "examples.parquet": "the same longtail run (or import) then writes it again",
    "estimates": "the command that wrote it then writes it again",
    "targets": "what is asked for next is written again",
    "failures": "nothing else needs it",
}
"""By folder, or file: what is to be done once a damaged file is set aside."""


def damaged(files: Files, path: str, problem: str) -> DamagedFileError:
    """That a file is damaged. Of campaign.json nothing can be made again."""
    again = _AGAIN.get(path.partition("/")[0])
    cure = f"longtail verify {files.uri} --repair sets it aside; {again}" if again else None
    place = files.place(path)
    return DamagedFileError(f"{place}: {problem.removeprefix(f'{place}: ')}", cure=cure)


def missing(files: Files, path: str) -> MissingFileError:
    """That a file is missing."""
    cure = "the same longtail run (or import) writes it again" if path == EXAMPLES else None
    return MissingFileError(f"{files.place(path)}: is missing", cure=cure)
