"""The store: the directory or object-store prefix with the committed files of one campaign. Owns every path in it.

campaign.json          the frozen campaign, data set, shard size, versions; the first file, it decides whose store it is
examples.parquet       split, example_id, label, given_label
targets/*.json         how many repetitions of which ratio were asked for; the union is what the campaign aims at
results/*.parquet      one file per shard; its existence is the only record that the shard is done
failures/*.json        shards that failed in user code
estimates/*.parquet    tables made from the results, replaced at will
damaged/               what `verify --repair` set aside
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from workers.campaign import Subsets
from workers.errors import ConflictError, DamagedFileError, StoreError
from workers.runs import Run, Shard
from workers.store import schema
from workers.store.files import Files, open_files
from workers.store.header import Header

_CAMPAIGN = "campaign.json"
_EXAMPLES = "examples.parquet"


@dataclass(frozen=True)
class Failure:
    """A shard given up: how often it was tried, and the last traceback."""

    shard_id: str
    attempts: int
    message: str
    traceback: str


class Store:
    """An existing store. Make one with `Store.create`, open one with `Store.open`."""

    def __init__(self, files: Files, header: Header) -> None:
        self._files = files
        self.header = header
        self._results = schema.RESULTS_WITH_MARGINS if header.margins else schema.RESULTS

    @property
    def uri(self) -> str:
        """Where the store is: an absolute path or a URI."""
        return self._files.uri

    @classmethod
    def exists(cls, uri: str | os.PathLike[str]) -> bool:
        """Is there a store at a path or URI."""
        return open_files(uri).read(_CAMPAIGN) is not None

    @classmethod
    def open(cls, uri: str | os.PathLike[str]) -> "Store":
        """The store at a path or URI. Raises StoreError where there is none, DamagedFileError where it is damaged."""
        files = open_files(uri)
        content = files.read(_CAMPAIGN)
        if content is None:
            raise StoreError(f"{files.uri}: is not a Longtail store (it has no {_CAMPAIGN})")
        return cls(files, Header.from_json(content.to_pybytes(), f"{files.uri}/{_CAMPAIGN}"))

    @classmethod
    def create(cls, uri: str | os.PathLike[str], header: Header, examples: pa.Table) -> "Store":
        """The store at a path or URI, made where there is none.

        Raises StoreMismatchError where it holds another campaign or other data, StoreError where the place holds
        something else or cannot be written. Two drivers may create one store at the same time.
        """
        files = open_files(uri)
        if files.read(_CAMPAIGN) is None:
            names = [name for name in files.names("") if not name.startswith(("_", "."))]
            if names and _CAMPAIGN not in names:  # another driver may have made the store just now
                raise StoreError(f"{files.uri}: is not empty and not a Longtail store (it holds {names[0]!r})")
            files.create(_CAMPAIGN, header.to_json())
        store = cls.open(uri)
        store.header.check_same(header, store.uri)
        # Only now: of two racing drivers with different campaigns, the one that won must write the examples.
        if _EXAMPLES not in files.names(""):
            files.create(_EXAMPLES, schema.encode(examples, {}))
        return store

    def examples(self) -> pa.Table:
        """split (train, test), example_id, label, given_label: N + T rows in canonical order."""
        return self._table(_EXAMPLES)

    def given_labels(self) -> npt.NDArray[np.int64]:
        """int64[N], the training labels that every run sees, label noise included.

        Runs take them from here: drawn anew, another version of NumPy might draw others. Raises DamagedFileError.
        """
        table = self.examples()
        labels = table.filter(pc.equal(table["split"], "train"))["given_label"].to_numpy().astype(np.int64)
        if len(labels) != self.header.num_train:
            raise DamagedFileError(
                f"{self._path(_EXAMPLES)}: holds {len(labels)} training examples, expected {self.header.num_train}"
            )
        return np.ascontiguousarray(labels)

    # Targets ------------------------------------------------------------------------------------------------------

    def aim(self, subsets: Subsets) -> None:
        """Record that these ratios and repetitions are wanted."""
        repetitions = subsets.repetitions
        document = {str(parts): repetitions for parts in sorted(subsets.parts)}
        name = "_".join(document) if len(document) <= 12 else f"{len(document)}-ratios-{_short_hash(document)}"
        self._files.create(f"targets/r{name}-{repetitions:06d}.json", json.dumps(document).encode())

    def targets(self) -> dict[int, int]:
        """Repetitions wanted at each ratio (parts per million), over everything ever asked for; ascending ratio."""
        wanted: dict[int, int] = {}
        for name in self._files.names("targets"):
            path = f"targets/{name}"
            try:
                asked = {int(parts): int(repetitions) for parts, repetitions in self._json(path).items()}
            except (ValueError, TypeError) as error:
                raise DamagedFileError(f"{self._path(path)}: is damaged: {error}") from error
            for parts, repetitions in asked.items():
                wanted[parts] = max(repetitions, wanted.get(parts, 0))
        return dict(sorted(wanted.items()))

    # Results ------------------------------------------------------------------------------------------------------

    def shards(self) -> list[Shard]:
        """The committed shards, ascending. One listing: the names say which runs they hold."""
        parsed = (Shard.parse(name.removesuffix(".parquet")) for name in self._files.names("results"))
        return sorted(shard for shard in parsed if shard is not None)

    def commit(self, shard: Shard, results: Sequence[schema.RunResult]) -> int:
        """Add a shard's results, whole or not at all. Bytes written: 0 where equal results were committed before.

        Raises ConflictError where different results are there under the same name, StoreError where the place cannot be
        written, ValueError where a vector has not the form that the store's data and campaign ask for.
        """
        margins = self.header.margins
        schema.check_vectors(results, self.header.num_train, self.header.num_test, margins)
        table = schema.results_table(results)
        digest = schema.content_hash(table)
        metadata = {
            "schema_version": str(schema.SCHEMA_VERSION),
            "campaign": self.header.identity,
            "shard": shard.shard_id,
            "content_sha256": digest,
        }
        content = schema.encode(table, metadata)
        if self._files.create(_results_path(shard), content, digest):
            return int(content.size)
        theirs = schema.content_hash(self.read(shard))
        if theirs != digest:
            raise ConflictError(
                f"{self._path(_results_path(shard))}: is committed with other content (SHA-256 {theirs[:12]}, "
                f"now {digest[:12]}): the same runs gave different results, on other hardware or versions?"
            )
        return 0

    def read(self, shard: Shard, columns: Sequence[str] | None = None) -> pa.Table:
        """A committed shard's rows (or some columns). Raises DamagedFileError, or StoreError where it is missing."""
        table = self._table(_results_path(shard), columns)
        expected = self._results if columns is None else [self._results.field(name) for name in columns]
        # Parquet's checksums cover its pages, not the footer that names and types them.
        if list(table.schema) != list(expected):
            raise DamagedFileError(f"{self._path(_results_path(shard))}: has not the columns of a results file")
        return table

    def scan(self, columns: Sequence[str], ratio: int | None = None) -> Iterator[tuple[Shard, pa.Table]]:
        """Every committed run once, shard by shard, ascending; `ratio` in parts per million picks one.

        Where shards overlap (two drivers with different numbers of repetitions), later copies of a run are left out.
        """
        seen: set[Run] = set()
        for shard in self.shards():
            if ratio is not None and shard.parts != ratio:
                continue
            fresh = [run.repetition for run in shard.runs if run not in seen]
            if not fresh:
                continue
            names = columns if "repetition" in columns else [*columns, "repetition"]
            table = self.read(shard, names)
            if len(fresh) < shard.stop - shard.start:
                table = table.filter(np.isin(table["repetition"].to_numpy(), fresh))
            seen.update(shard.runs)
            yield shard, table.select(list(columns))

    def bits(self, shard: Shard, table: pa.Table, column: str) -> npt.NDArray[np.bool_]:
        """A vector column of rows as bool[rows, N]; bool[rows, T] for test_correct. Raises DamagedFileError."""
        return self._matrix(shard, table, column)

    def margins(self, shard: Shard, table: pa.Table) -> npt.NDArray[np.float16]:
        """The test margins of a shard's rows, where they are recorded: float16[rows, T]. Raises DamagedFileError."""
        return self._matrix(shard, table, schema.MARGIN)

    def _matrix(self, shard: Shard, table: pa.Table, column: str) -> npt.NDArray[Any]:
        width = self.header.num_train if column in ("subset", "train_correct") else self.header.num_test
        try:
            return schema.matrix(table, column, width)
        except DamagedFileError as error:
            raise DamagedFileError(f"{self._path(_results_path(shard))}: {error}") from error

    # Failures and estimates -----------------------------------------------------------------------------------------

    def record_failure(self, failure: Failure) -> None:
        """Write a given-up shard's traceback, in place of an earlier one."""
        self._files.replace(f"failures/{failure.shard_id}.json", json.dumps(asdict(failure), indent=1).encode())

    def clear_failure(self, shard: Shard) -> None:
        """Remove a shard's failure, now that it is committed."""
        self._files.delete(f"failures/{shard.shard_id}.json")

    def failures(self, committed: Sequence[Shard] | None = None) -> list[Failure]:
        """The failed shards with runs that are not `committed` (default: a listing), by id. Raises DamagedFileError."""
        failed = [Shard.parse(name.removesuffix(".json")) for name in self._files.names("failures")]
        shards = self.shards() if failed and committed is None else committed or []
        done = {run for shard in shards for run in shard.runs} if failed else set()
        lacking = [shard.shard_id for shard in failed if shard is not None and not done.issuperset(shard.runs)]
        documents = (self._json(f"failures/{shard_id}.json") for shard_id in lacking)
        try:
            return [Failure(**document) for document in documents if document]
        except TypeError as error:
            raise DamagedFileError(f"{self._path('failures')}: holds a file of another form: {error}") from error

    def write_estimate(self, name: str, table: pa.Table, metadata: Mapping[str, str]) -> str:
        """Write (or replace) estimates/NAME.parquet; returns its path or URI."""
        path = f"estimates/{name}.parquet"
        self._files.replace(path, schema.encode(table, dict(metadata)))
        return self._path(path)

    def clean(self) -> None:
        """Remove temporary files that killed writers left."""
        self._files.clean()

    # Integrity ------------------------------------------------------------------------------------------------------

    def inspect(self, name: str) -> str | None:
        """What is wrong with results/NAME; None where nothing is."""
        shard = Shard.parse(name.removesuffix(".parquet")) if name.endswith(".parquet") else None
        if shard is None:
            return "is not a results file"
        try:
            table = self.read(shard)
            said = schema.metadata_of(table.schema)
            if said.get("campaign") != self.header.identity:
                return "belongs to another campaign"
            if said.get("content_sha256") != schema.content_hash(table) or said.get("shard") != shard.shard_id:
                return "does not hold the content that it was committed with"
            if not schema.consistent(table, *(self.bits(shard, table, column) for column in schema.VECTORS)):
                return "has accuracies that its vectors do not give"
        except DamagedFileError as error:
            return str(error).removeprefix(f"{self._path(_results_path(shard))}: ")
        same_runs = set(table["run_id"].to_pylist()) == {run.run_id for run in shard.runs}
        return None if same_runs else "does not hold the runs of its name"

    def result_names(self) -> list[str]:
        """Every file name in results/ that is not a temporary one."""
        return [name for name in self._files.names("results") if not name.startswith(("_", "."))]

    def set_aside(self, name: str) -> str:
        """Move results/NAME to damaged/, so that its runs are trained again; returns the new path."""
        self._files.move(f"results/{name}", f"damaged/{name}")
        return self._path(f"damaged/{name}")

    def _json(self, path: str) -> dict[str, Any]:
        """A small JSON file's mapping; empty where it is no JSON file or is gone. Raises DamagedFileError."""
        content = self._files.read(path) if path.endswith(".json") and "/_" not in path else None
        if content is None:
            return {}
        try:
            return dict(json.loads(content.to_pybytes()))
        except (ValueError, TypeError) as error:
            raise DamagedFileError(f"{self._path(path)}: is damaged: {error}") from error

    def _table(self, path: str, columns: Sequence[str] | None = None) -> pa.Table:
        file = self._files.open(path)
        if file is None:
            raise StoreError(f"{self._path(path)}: is missing")
        with file:
            try:
                return schema.decode(file, columns)
            except DamagedFileError as error:
                raise DamagedFileError(f"{self._path(path)}: {error}") from error

    def _path(self, path: str) -> str:
        return self._files.place(path)


def _results_path(shard: Shard) -> str:
    return f"results/{shard.shard_id}.parquet"


def _short_hash(document: dict[str, int]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:12]
