"""Merges committed shards into one file with deterministic bytes."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from workers.campaign.keys import Shard
from workers.errors import ConflictError, DamagedFileError, LongtailError, StoreError
from workers.store.content_hash import content_hash, run_hashes
from workers.store.files.base import Files
from workers.store.header import Header
from workers.store.integrity import check_results
from workers.store.parquet.table_file import encode
from workers.store.results import GROUP_BYTES, Results, results_path
from workers.store.schema import SCHEMA_VERSION

_TOGETHER = 256
"""Tables of sources before they are copied into one: each by itself wastes some kilobytes."""


class SourceError(LongtailError):
    """A shard that cannot be merged; `shard` says which, the text why."""

    def __init__(self, shard: Shard, error: LongtailError) -> None:
        super().__init__(error.problem if isinstance(error, StoreError) else str(error))
        self.shard = shard


def encode_results(table: pa.Table, shard: Shard, header: Header) -> tuple[pa.Buffer, str]:
    """A shard's file, and its content hash. Row groups hold whole runs, always as many, from repetition 0 on."""
    digest = content_hash(table)
    metadata = {
        "schema_version": str(SCHEMA_VERSION),
        "campaign": header.identity,
        "shard": shard.shard_id,
        "content_sha256": digest,
    }
    runs = max(1, GROUP_BYTES // header.bytes_per_run)
    group = table["repetition"].to_numpy() // runs
    starts = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist()]
    return encode(table.replace_schema_metadata(None), metadata, starts), digest


def merge(files: Files, results: Results, header: Header, target: Shard, sources: Sequence[Shard]) -> None:
    """Commit `target` with every run of the sources, and check that each has the same content there.

    Deletes nothing. Memory: the target's runs twice, packed and encoded, and a source. Raises SourceError for a damaged
    source, for one with other content than another's, and for a target that is there and is not sound;
    MissingFileError where another compaction was faster.
    """
    there = target in results.shards()
    expected: dict[int, tuple[str, Shard]] = {}
    tables: list[pa.Table] = []
    position = target.start
    for source in sorted(sources, key=lambda shard: (shard.start, -shard.stop)):
        table = _read_source(results, source, expected, source.stop if there else position)
        position = max(position, source.stop)
        if table.num_rows:
            tables.append(table)
        if len(tables) >= _TOGETHER:
            tables = [pa.concat_tables(tables).combine_chunks()]
    if not there:
        content, digest = encode_results(pa.concat_tables(tables).combine_chunks(), target, header)
        tables.clear()
        files.create(results_path(target), content, digest)
        del content
    _check_target(results, target, expected)


def _read_source(results: Results, source: Shard, expected: dict[int, tuple[str, Shard]], position: int) -> pa.Table:
    """A checked source's rows from a repetition on; its runs' hashes go into `expected`."""
    try:
        with results.open(source) as file:
            check_results(file, source)
            for repetition, digest in run_hashes(file).items():
                held, other = expected.setdefault(repetition, (digest, source))
                if held != digest:
                    raise ConflictError(f"differs from {other.shard_id}.parquet in repetition {repetition}")
            if position >= source.stop:
                return pa.table({})
            table = file.read_all()
    except (DamagedFileError, ConflictError) as error:
        raise SourceError(source, error) from error
    return table if position <= source.start else table.filter(table["repetition"].to_numpy() >= position)


def _check_target(results: Results, target: Shard, expected: dict[int, tuple[str, Shard]]) -> None:
    """Read what is in the store back, and compare it run by run."""
    try:
        with results.open(target) as file:
            check_results(file, target)
            held = run_hashes(file)
    except DamagedFileError as error:
        raise SourceError(target, error) from error
    for repetition, (digest, source) in expected.items():
        if held[repetition] != digest:
            path = f"{results.uri}/{results_path(source)}"
            conflict = ConflictError(f"{path}: differs from {target.shard_id}.parquet in repetition {repetition}")
            raise SourceError(source, conflict)
