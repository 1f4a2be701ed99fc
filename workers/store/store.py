"""`Store`: the directory or object-store prefix with the committed files of one campaign.

campaign.json          the frozen campaign, data set, shard size, versions; the first file, it decides whose store it is
examples.parquet       split, example_id, label, given_label; score under the design `explicit`; split_score; names
targets/*.json         how many repetitions of which ratio were requested; the newest request counts
results/*.parquet      one file per shard; its existence is the only record that the shard is done
failures/*.json        shards that failed in user code
estimates/*.parquet    tables made from the results, replaced at will
damaged/               what `verify --repair` set aside
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from workers.campaign.campaign import Subsets
from workers.campaign.keys import Shard
from workers.common.progress import ProgressCallback, no_progress
from workers.errors import ConflictError, DamagedFileError, MissingFileError, NoStoreError
from workers.store import schema
from workers.store.checkpoint_files import CheckpointFiles
from workers.store.content_hash import file_hash
from workers.store.failures import Failures
from workers.store.file_problems import EXAMPLES_FILE, damaged_file_error
from workers.store.files.base import Files, open_files
from workers.store.header import CAMPAIGN, MAX_JSON, Header
from workers.store.json_documents import Failure, read_small
from workers.store.maintenance import StoreMaintenance
from workers.store.merge import encode_results
from workers.store.parquet.table_file import Layout, encode
from workers.store.results import Results, exists, open_table, results_path
from workers.store.stored_examples import StoredExamples
from workers.store.targets import Targets

_ESTIMATE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,200}")


class Store(StoredExamples):
    """An existing store. Create one with `Store.create`, open one with `Store.open`."""

    def __init__(self, files: Files, header: Header) -> None:
        self._files = files
        self.header = header
        self._results = Results(files, header)
        self._targets = Targets(files)
        self._failures = Failures(files)
        self.maintenance = StoreMaintenance(files, header)
        """Verifies, sets aside, merges."""
        self.rewritten = False
        """Whether `create` found the store without its examples, and wrote them anew."""
        self.checkpoints = CheckpointFiles(files)
        """Of shards in training."""
        self.on_read: ProgressCallback = no_progress
        """Called by every scan with the runs read so far, and the runs there are."""

    @property
    def uri(self) -> str:
        """Where the store is: an absolute path or a URI."""
        return self._files.uri

    @classmethod
    def exists(cls, uri: str | os.PathLike[str]) -> bool:
        """Whether there is a store at a path or URI."""
        return exists(open_files(uri), CAMPAIGN)

    @classmethod
    def open(cls, uri: str | os.PathLike[str]) -> "Store":
        """The store at a path or URI. Raises StoreError where there is none, DamagedFileError where it is damaged."""
        files = open_files(uri)
        content = read_small(files, CAMPAIGN, MAX_JSON)
        if content is None:
            raise NoStoreError(f"{files.uri}: is not a Longtail store (it has no {CAMPAIGN})")
        header = Header.from_json(content, files.location(CAMPAIGN))
        files.bind(CAMPAIGN, content)
        return cls(files, header)

    @classmethod
    def create(cls, uri: str | os.PathLike[str], header: Header, examples: pa.Table) -> "Store":
        """The store at a path or URI, made where there is none.

        Raises StoreMismatchError where it holds another campaign or other data, StoreError where the place holds
        something else or cannot be written. Two drivers may create one store at the same time.
        """
        files = open_files(uri)
        there = exists(files, CAMPAIGN)
        if not there:
            names = [name for name in files.names("") if not name.startswith(("_", "."))]
            if names and CAMPAIGN not in names:  # another driver may have made the store just now
                raise NoStoreError(f"{files.uri}: is not empty and not a Longtail store (it holds {names[0]!r})")
            files.make_root()
            files.create(CAMPAIGN, header.to_json())
        store = cls.open(uri)
        store.header.check_same(header, store.uri)
        # Only now: of two racing drivers with different campaigns, the one that won must write the examples.
        if EXAMPLES_FILE not in files.names(""):
            if there and store.shards():
                store.header.check_same_noise(header, files.location(EXAMPLES_FILE))
            store.rewritten = there
            store._files.create(EXAMPLES_FILE, encode(examples, {}))
        return store

    # Targets ------------------------------------------------------------------------------------------------------

    def add_target(self, subsets: Subsets, *, at_least: bool = False) -> None:
        """Record that these ratios and repetitions are requested, and no more; with `at_least`, at least so many."""
        self._targets.add(subsets, at_least=at_least)

    def targets(self, damaged: list[DamagedFileError] | None = None) -> dict[int, int]:
        """Repetitions requested at each ratio (parts per million): those requested last; ascending ratio.

        Files that cannot be used are left out, and added to `damaged`.
        """
        return self._targets.targets([] if damaged is None else damaged)

    # Results ------------------------------------------------------------------------------------------------------

    def shards(self) -> list[Shard]:
        """The committed shards, ascending. One listing: the names say which runs they hold."""
        return self._results.shards()

    def all_shards(self) -> list[Shard]:
        """As `shards`, those included that a compaction merges meanwhile. Two listings."""
        return self._results.all_shards()

    def commit(self, shard: Shard, results: Sequence[schema.RunResult]) -> int:
        """Add a shard's results, whole or not at all. Bytes written: 0 where equal results were committed before.

        Raises ConflictError where different results are there under the same name, StoreError where the place cannot be
        written, ValueError where a vector has not the form that the store's data and campaign ask for.
        """
        schema.check_vectors(results, self._results.schema, self._results.widths)
        content, digest = encode_results(schema.results_table(results, self._results.schema), shard, self.header)
        while not self._files.create(results_path(shard), content, digest):
            try:
                with self._results.open(shard) as file:
                    theirs = file_hash(file)
            except MissingFileError:
                continue  # a compaction merged it away just now
            if theirs == digest:
                return 0
            raise ConflictError(
                f"{self._path(results_path(shard))}: is committed with other content (SHA-256 {theirs[:12]}, "
                f"now {digest[:12]}): the same runs gave different results, on other hardware or versions?"
            )
        return int(content.size)

    def read(self, shard: Shard, columns: Sequence[str] | None = None) -> pa.Table:
        """A committed shard's rows (or some columns). Raises DamagedFileError; StoreError where it is missing."""
        with self._results.open(shard) as file:
            return file.read_all(columns)

    def groups(self, shard: Shard, columns: Sequence[str]) -> Iterator[pa.Table]:
        """A committed shard's rows, some whole runs at a time, so that a merged file takes little memory. As `read`."""
        with self._results.open(shard) as file:
            yield from file.groups(columns)

    def scan(self, columns: Sequence[str], ratio: int | None = None) -> Iterator[tuple[Shard, pa.Table]]:
        """Every committed run once, ascending; `ratio` in parts per million picks one.

        A table holds some of a shard's runs, whole, so that a merged file of any size takes little memory. Where shards
        overlap (a compaction is under way; two drivers with different numbers of repetitions), other copies of a run
        are left out. Every run that is committed when the scan starts is in it, whatever a compaction does meanwhile.
        """
        return self._results.scan(columns, ratio, self.on_read)

    def bits(self, shard: Shard, table: pa.Table, column: str) -> npt.NDArray[np.bool_]:
        """A vector column of rows as bool[rows, N]; bool[rows, T] for test_correct. Raises DamagedFileError."""
        return self._matrix(shard, table, column)

    def vectors(self, shard: Shard, table: pa.Table, column: str) -> npt.NDArray[Any]:
        """A vector column of rows in its own shape: probes as the header declares. Raises DamagedFileError.

        Presentations are [rows, slots, N]: a row's slots are its epochs since the row before, and then empty ones.
        """
        return self._matrix(shard, table, column).reshape(len(table), *self._results.widths.shape(column))

    def _matrix(self, shard: Shard, table: pa.Table, column: str) -> npt.NDArray[Any]:
        try:
            return schema.matrix(table, column, self._results.widths.of(column))
        except DamagedFileError as error:
            raise damaged_file_error(self._files, results_path(shard), error.problem) from error

    # Failures and estimates -----------------------------------------------------------------------------------------

    def record_failure(self, failure: Failure) -> None:
        """Write a given-up shard's traceback, in place of an earlier one. Raises ValueError for another id.

        What is longer than anybody reads is cut: head and tail stay.
        """
        self._failures.record(failure)

    def clear_failure(self, shard: Shard) -> None:
        """Remove a shard's failure, now that it is committed."""
        self._failures.clear(shard)

    def failures(
        self, committed: Sequence[Shard] | None = None, damaged: list[DamagedFileError] | None = None
    ) -> list[Failure]:
        """The shards that failed and have runs that are not committed, by id.

        `committed`: the store's shards, where the caller has listed them. Files that cannot be used are left out, and
        added to `damaged`.
        """
        failed = self._failures.shards()
        shards = self.shards() if failed and committed is None else committed or []
        done = {run for shard in shards for run in shard.runs} if failed else set()
        lacking = [shard for shard in failed if not done.issuperset(shard.runs)]
        return self._failures.read(lacking, [] if damaged is None else damaged)

    def write_estimate(self, name: str, table: pa.Table, metadata: Mapping[str, str]) -> str:
        """Write (or replace) estimates/NAME.parquet; returns its path or URI. Raises ValueError for no name."""
        if not _ESTIMATE.fullmatch(name):
            raise ValueError(f"name must be letters, digits, '_', '-' and '.', got {name!r}")
        path = f"estimates/{name}.parquet"
        self._files.replace(path, encode(table, dict(metadata)))
        return self._path(path)

    def read_estimate(self, name: str, columns: pa.Schema) -> pa.Table | None:
        """The table estimates/NAME.parquet of exactly these columns, one row per training example; None: is not there.

        Raises DamagedFileError where it is another table. It is only as current as the call that wrote it.
        """
        path = f"estimates/{name}.parquet"
        if not exists(self._files, path):
            return None
        with open_table(self._files, path, Layout(columns, self.header.num_train, self.header.num_train)) as file:
            return file.read_all()

    def check_binding(self) -> None:
        """Raise StoreError where the store is gone, or another one is there. On a disk every write does so."""
        self._files.check()

    def check_estimates_writable(self) -> None:
        """Raise ReadOnlyError where no estimate can be written; an object store does not tell before one is."""
        self._files.check_writable("estimates")

    def clean(self) -> None:
        """Remove temporary files that killed writers left."""
        self._files.clean()

    def _path(self, path: str) -> str:
        return self._files.location(path)
