"""`failures/*.json`: failed shards, each with its last traceback, until the shard is committed."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

from workers.campaign.keys import Shard
from workers.errors import DamagedFileError
from workers.store.files.base import Files
from workers.store.json_documents import Failure, read_failure
from workers.user_code.text_limits import shortened

MAX_MESSAGE = 2_000
MAX_TRACEBACK = 100_000
"""Characters, of which JSON makes twelve at most: far from `documents.MAX_BYTES`."""


class Failures:
    """The failures in a store's files."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def record(self, failure: Failure) -> None:
        """Write a failure, its texts cut to what a reader takes, in place of an earlier one."""
        if Shard.parse(failure.shard_id) is None:
            raise ValueError(f"shard_id must be a shard's, got {failure.shard_id!r}")
        cut = replace(
            failure,
            message=shortened(failure.message, MAX_MESSAGE),
            traceback=shortened(failure.traceback, MAX_TRACEBACK),
        )
        self._files.replace(_path(failure.shard_id), json.dumps(asdict(cut), indent=1).encode())

    def clear(self, shard: Shard) -> None:
        """Remove a shard's failure, now that it is committed."""
        self._files.delete(_path(shard.shard_id))

    def shards(self) -> list[Shard]:
        """The shards that failed, by the names of their files; ascending. One listing."""
        named = (Shard.parse(name.removesuffix(".json")) for name in self._files.names("failures"))
        return sorted(shard for shard in named if shard is not None)

    def read(self, shards: Sequence[Shard], damaged: list[DamagedFileError]) -> list[Failure]:
        """The failures of these shards. Files that cannot be used are added to `damaged`."""
        failures: list[Failure] = []
        for shard in shards:
            try:
                failure = read_failure(self._files, _path(shard.shard_id))
            except DamagedFileError as error:
                damaged.append(error)
                continue
            failures += [] if failure is None else [failure]
        return failures


def _path(shard_id: str) -> str:
    return f"failures/{shard_id}.json"
