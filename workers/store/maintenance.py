"""Maintenance of a store: inspects files, sets damaged ones aside, merges shards, deletes merged ones."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager

import pyarrow.compute as pc

from workers.campaign.keys import Shard
from workers.errors import DamagedFileError, MissingFileError
from workers.store import example_schema
from workers.store.content_hash import run_hashes
from workers.store.example_schema import MASKS
from workers.store.file_problems import EXAMPLES_FILE, MISSING, damaged_file_error
from workers.store.files.base import Files
from workers.store.header import Header
from workers.store.integrity import check_examples, check_results
from workers.store.json_documents import read_failure, read_target
from workers.store.merge import merge
from workers.store.parquet.table_file import Layout, TableFile, verify_checksums
from workers.store.results import Results, open_table, results_path, shard_of

FOLDERS = ("results", "targets", "failures", "estimates")
"""Those whose files are inspected; what else lies in a store's folder may be the user's own."""


def open_examples(files: Files, header: Header) -> AbstractContextManager[TableFile]:
    """A store's examples; as `open_table`."""
    count = header.num_train + header.num_test
    columns = example_schema.examples_schema(header.score_columns, header.flag_columns, masks=header.masks is not None)
    widths = {MASKS.name: header.mask_bytes}
    layout = Layout(columns, max_rows=count, widths=widths, optional=example_schema.EXAMPLE_NAMES)
    return open_table(files, EXAMPLES_FILE, layout)


class StoreMaintenance:
    """Inspects, moves, merges and deletes the files of one store."""

    def __init__(self, files: Files, header: Header) -> None:
        self._files = files
        self._header = header
        self._results = Results(files, header)

    def names(self, folder: str) -> list[str]:
        """The file names in one of FOLDERS, without temporary files."""
        return [name for name in self._files.names(folder) if not name.startswith(("_", "."))]

    def inspect(self, path: str) -> str | None:
        """What is wrong with examples.parquet or FOLDER/NAME; None where nothing is, or the file went away."""
        try:
            self._check(path)
        except MissingFileError:
            return MISSING if path == EXAMPLES_FILE else None
        except DamagedFileError as error:
            return error.problem.removeprefix(f"{self._files.location(path)}: ")
        return None

    def damage(self, path: str, problem: str) -> DamagedFileError:
        """What `inspect` says of a file as an error, which names the file and what helps."""
        return damaged_file_error(self._files, path, problem)

    def diverged(self, shard: Shard) -> list[int]:
        """The repetitions that diverged, of a committed file that is checked as `inspect` does.

        Raises DamagedFileError, or MissingFileError where it is not there.
        """
        with self._results.open(shard) as file:
            check_results(file, shard)
            table = file.read_all(["repetition", "is_final", "status"])
        lost = pc.and_(table["is_final"], pc.equal(table["status"], "diverged"))
        repetitions: list[int] = table.filter(lost)["repetition"].to_pylist()
        return repetitions

    def run_hashes(self, shard: Shard) -> dict[int, str]:
        """SHA-256 (hex) of the content of each run in a committed file, by repetition.

        Raises DamagedFileError, or MissingFileError where it is not there.
        """
        with self._results.open(shard) as file:
            return run_hashes(file)

    def set_aside(self, path: str) -> str:
        """Move examples.parquet or FOLDER/NAME to damaged/, beside what is there; returns the new path.

        Results are trained again and examples written again by the next run, estimates by the next `estimate`.
        """
        folder, _, name = path.rpartition("/")
        if (folder not in FOLDERS and path != EXAMPLES_FILE) or name in ("", ".", ".."):
            raise ValueError(f"must be a file of the store, got {path!r}")
        requested = free = name if folder in ("", "results") else f"{folder}-{name}"
        there, number = set(self._files.names("damaged")), 1
        while free in there:
            number += 1
            free = f"{requested}.{number}"
        self._files.move(path, f"damaged/{free}")
        return self._files.location(f"damaged/{free}")

    def merge(self, target: Shard, sources: Sequence[Shard]) -> None:
        """Commit one file with the runs of some shards, compared with them run by run. See `workers.store.merge`."""
        merge(self._files, self._results, self._header, target, sources)

    def discard(self, shards: Iterable[Shard]) -> int:
        """Delete those of these shards' files whose runs are all in a wider committed file; returns how many."""
        superfluous = set(superseded_shards(self._results.shards())).intersection(shards)
        for shard in sorted(superfluous):
            self._files.delete(results_path(shard))
        return len(superfluous)

    def _check(self, path: str) -> None:
        folder, _, name = path.rpartition("/")
        if path == EXAMPLES_FILE:
            with open_examples(self._files, self._header) as table:
                check_examples(table, self._header)
        elif folder == "results":
            shard = shard_of(name)
            if shard is None:
                raise DamagedFileError("is not a results file")
            self.diverged(shard)
        elif folder == "estimates":
            self._check_estimate(path)
        else:
            _check_document(self._files, path, read_target if folder == "targets" else read_failure)

    def _check_estimate(self, path: str) -> None:
        """Its columns are whatever an estimate has, so that only its pages can be checked."""
        file = self._files.open(path) if path.endswith(".parquet") else None
        if file is not None:
            with file:
                verify_checksums(file)


def superseded_shards(shards: Iterable[Shard]) -> list[Shard]:
    """The shards whose runs all are in one other, wider shard."""
    superseded: list[Shard] = []
    widest: Shard | None = None
    for shard in sorted(shards, key=lambda each: (each.ratio_ppm, each.start, -each.stop)):
        if widest is not None and shard.ratio_ppm == widest.ratio_ppm and shard.stop <= widest.stop:
            superseded.append(shard)
        else:
            widest = shard
    return superseded


def _check_document(files: Files, path: str, read: Callable[[Files, str], object]) -> None:
    if not path.endswith(".json"):
        raise DamagedFileError("is not a file of a store")
    read(files, path)
