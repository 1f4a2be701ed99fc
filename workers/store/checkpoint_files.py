"""Checkpoint files of shards in training: one file each in the store's `_checkpoints/`.

A file is written whole, replaced by later ones, and removed when its shard is committed. It starts with the SHA-256 of
the rest, so that a truncated or altered one is found out before anything looks into it.
"""

import hashlib
from collections.abc import Callable, Iterable

from workers.campaign.keys import Run, Shard
from workers.errors import DamagedFileError, StoreError
from workers.store.files.base import Files

_FOLDER = "_checkpoints"
_SUFFIX = ".checkpoint"
_DIGEST_BYTES = 32


class CheckpointFiles:
    """The checkpoints among a store's files. All methods raise StoreError, which names the path."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def read(self, shard: Shard, most: Callable[[], int]) -> bytes | None:
        """The last checkpoint of a shard; None where there is none.

        Raises DamagedFileError where that is truncated or altered, or, unread, where it has more than `most()` bytes.
        """
        path = self._files.location(_path(shard))
        file = self._files.open(_path(shard))
        if file is None:
            return None
        try:
            with file:
                size, limit = file.size(), most() + _DIGEST_BYTES
                if size > limit:
                    raise DamagedFileError(f"{path}: must have at most {limit} bytes, got {size}")
                whole: bytes = file.read(size)
        except DamagedFileError:
            raise
        except OSError as error:
            raise StoreError(f"{path}: {error}") from error
        digest, content = whole[:_DIGEST_BYTES], whole[_DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != digest:
            raise DamagedFileError(f"{path}: is truncated or altered")
        return content

    def write(self, shard: Shard, content: bytes) -> None:
        """Write a shard's checkpoint, whole or not at all, in place of an earlier one."""
        self._files.replace(_path(shard), hashlib.sha256(content).digest() + content)

    def remove(self, shard: Shard) -> None:
        """Remove a shard's checkpoint, which may be gone already."""
        self._files.delete(_path(shard))

    def remove_stale(self, committed: Callable[[], Iterable[Shard]]) -> None:
        """Remove the checkpoints whose runs are all committed: a second worker on a shard can leave one behind.

        One listing, and a call of `committed` only where there are checkpoints.
        """
        named = (Shard.parse(name.removesuffix(_SUFFIX)) for name in self._files.names(_FOLDER))
        if shards := [shard for shard in named if shard is not None]:
            done: set[Run] = {run for shard in committed() for run in shard.runs}
            for shard in shards:
                if done.issuperset(shard.runs):
                    self.remove(shard)


def _path(shard: Shard) -> str:
    return f"{_FOLDER}/{shard.shard_id}{_SUFFIX}"
