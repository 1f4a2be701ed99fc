"""Digests of a finished store, and their comparison: every run once, bits of runs, bits of estimates."""

import hashlib
from collections import Counter

import pandas as pd
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from benchmarks.chaos.reader import by_notebook, by_pandas
from workers.store import Store

_CONTENT = (
    *("run_id", "ratio", "repetition", "epoch", "is_final", "subset", "train_correct", "test_correct"),
    *("train_loss", "status"),
)
Digest = dict[str, dict[str, str]]


def digest_store(uri: str, requested: set[str]) -> tuple[Digest, list[str]]:
    """({"runs": {run id: SHA-256}, "estimates": {table: SHA-256}}, problems): is every requested run there once."""
    problems = []
    for way, runs in (("analysis.open_store", by_notebook(uri)), ("pandas.read_parquet", by_pandas(uri))):
        counts = Counter(runs)
        if twice := [run for run, count in counts.items() if count > 1]:
            problems.append(f"{way}: there more than once: {twice}")
        if missing := requested - counts.keys():
            problems.append(f"{way}: missing: {sorted(missing)}")
        if foreign := counts.keys() - requested:
            problems.append(f"{way}: not requested: {sorted(foreign)}")
    return {"runs": _runs(uri), "estimates": _estimates(uri)}, problems


def compare(expected: Digest, actual: Digest) -> list[str]:
    """What differs between two stores."""
    return [
        f"{kind} {name}: differs from the undisturbed campaign's"
        for kind in expected
        for name in sorted(expected[kind].keys() | actual[kind].keys())
        if expected[kind].get(name) != actual[kind].get(name)
    ]


def _runs(uri: str) -> dict[str, str]:
    digests: dict[str, str] = {}
    for _, table in Store.open(uri).scan(_CONTENT):
        for row in table.to_pylist():
            digests[f"{row['run_id']} epoch {row['epoch']}"] = _sha(repr(row).encode())
    return digests


def _estimates(uri: str) -> dict[str, str]:
    filesystem, root = pafs.FileSystem.from_uri(uri)
    files = filesystem.get_file_info(pafs.FileSelector(f"{root}/estimates"))
    return {file.base_name: _table(pq.read_table(file.path, filesystem=filesystem)) for file in files if file.is_file}


def _table(table: pa.Table) -> str:
    """Of names, types and every bit, NaN included; not of how the file was encoded."""
    frame: pd.DataFrame = table.to_pandas()
    digest = hashlib.sha256(str(table.schema.remove_metadata()).encode())
    for name in frame.columns:
        values = frame[name]
        raw = values.to_numpy()
        digest.update(raw.tobytes() if raw.dtype != object else repr(values.tolist()).encode())
    return digest.hexdigest()


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
