"""Reads a store repeatedly while it is written, through `open_store`, pandas and `longtail status`.

    python -m benchmarks.chaos.reader STORE REPORT

Ends at SIGTERM, after a last look, and writes what it saw: {"polls": .., "errors": [..], "fewer": [..], "twice": ..}.
"""

import json
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow.fs as pafs

from analysis import open_store
from orchestrator.store_ops.status import campaign_status
from workers.store import Store

_PAUSE = 0.3


def by_notebook(uri: str) -> list[str]:
    """The runs that `analysis.open_store` shows."""
    runs = open_store(uri).runs()
    return list(runs.loc[runs["is_final"].astype(bool), "run_id"])


def by_pandas(uri: str) -> list[str]:
    """The runs that pandas finds in the folder of results; none where there is no such folder yet."""
    filesystem, root = pafs.FileSystem.from_uri(uri)
    if filesystem.get_file_info(f"{root}/results").type == pafs.FileType.NotFound:
        return []
    frame = pd.read_parquet(f"{root}/results", columns=["run_id", "is_final"], filesystem=filesystem)
    return list(frame.loc[frame["is_final"], "run_id"])


def by_status(uri: str) -> list[str]:
    """As many names as `longtail status` counts runs. Raises what it says of damaged files."""
    status = campaign_status(uri)
    for damaged in status.damaged:
        raise damaged
    return [str(number) for number in range(status.committed)]


PANDAS = "pandas.read_parquet"
WAYS: dict[str, Callable[[str], list[str]]] = {
    "analysis.open_store": by_notebook,
    PANDAS: by_pandas,
    "longtail status": by_status,
}


class Reader:
    """What was seen so far."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.polls = 0
        self.errors: list[str] = []
        self.fewer: list[str] = []
        self.twice = 0
        """Most runs that pandas found in two files at a time. While a compaction works, that is how it should be."""
        self._seen: dict[str, set[str]] = {way: set() for way in WAYS}

    def poll(self) -> None:
        """Look once, in every way."""
        for way, look in WAYS.items():
            self.polls += 1
            try:
                runs = look(self.uri)
            except Exception:  # noqa: BLE001 - whatever a reader meets is what is reported
                self.errors.append(f"{way}: {traceback.format_exc()}")
                continue
            if self._seen[way] - set(runs):
                self.fewer.append(f"{way}: {sorted(self._seen[way] - set(runs))} are gone")
            twice = len(runs) - len(set(runs))
            if twice and way == PANDAS:
                self.twice = max(self.twice, twice)
            elif twice:
                self.errors.append(f"{way}: {twice} runs are there twice")
            self._seen[way] = set(runs)


def main() -> None:
    """Poll until SIGTERM."""
    uri, report = sys.argv[1], Path(sys.argv[2])
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: ended.append(number))
    reader = Reader(uri)
    while not ended:
        if Store.exists(uri):
            reader.poll()
        time.sleep(_PAUSE)
    reader.poll()
    report.write_text(
        json.dumps({"polls": reader.polls, "errors": reader.errors, "fewer": reader.fewer, "twice": reader.twice})
    )


if __name__ == "__main__":
    main()
