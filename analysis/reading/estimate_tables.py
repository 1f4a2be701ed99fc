"""Tables in a store's estimates/ folder, and the runs that they rest on."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa

from analysis.reading.bits import RatioBits
from analysis.reading.counts import RatioCounts
from analysis.reading.names import with_names
from workers.store import Store
from workers.store.files.base import open_files
from workers.store.parquet.table_file import encode

Basis = Mapping[str, int | None]
"""What an estimate rests on at one ratio: runs used, diverged runs left out, the epoch."""


def basis(at: RatioCounts | RatioBits) -> Basis:
    """That of sums, or of bits."""
    return {"runs": at.runs, "diverged": at.diverged, "epoch": at.epoch}


def bases_of(ratios: Iterable[RatioCounts]) -> dict[str, Basis]:
    """Those of several ratios, by ratio."""
    return {str(ratio.ratio): basis(ratio) for ratio in ratios}


def write_table(
    store: Store,
    name: str,
    frame: pd.DataFrame,
    bases: Mapping[str, Basis],
    folder: str | Path | None = None,
    **conventions: str,
) -> str:
    """Write (or replace) estimates/NAME.parquet, or FOLDER/NAME.parquet; returns its path or URI.

    It has names, where there are some (see `analysis.reading.names`). Its metadata hold the estimate's name, the
    campaign's identity, what it rests on at each ratio, and conventions.
    Raises StoreError where the place cannot be written; a folder is made where there is none.
    """
    named = with_names(frame, store)
    table = pa.table({column: named[column].to_numpy() for column in named.columns})
    provenance = {"estimate": name, "campaign": store.header.identity, "ratios": json.dumps(bases)}
    metadata = {**provenance, **conventions}
    if folder is None:
        return store.write_estimate(name, table, metadata)
    files = open_files(folder)
    files.make_root()
    files.replace(f"{name}.parquet", encode(table, metadata))
    return files.location(f"{name}.parquet")
