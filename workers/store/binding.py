"""Detects that an open store was moved away, emptied, unmounted or replaced.

A store's folder may be moved away, emptied, unmounted or replaced by another store's while a campaign writes to it. So
open files are bound to the store's first file, by its content: it is looked at again before anything is written.
"""

from typing import Any

import pyarrow as pa

from workers.errors import StoreError


class Binding:
    """The header file of a store as it was when the store was opened."""

    def __init__(self, path: str, content: bytes) -> None:
        self.path = path
        self._content = content
        self._seen: Any = None

    def seen(self, mark: Any) -> bool:
        """Whether the file was the same with this mark, which changes when another file takes its place."""
        return mark is not None and mark == self._seen

    def check(self, uri: str, content: pa.Buffer | None, mark: Any = None) -> None:
        """Raise StoreError, which names the store at `uri`, unless the file's bytes are those of the opened store."""
        if content is None:
            raise StoreError(
                f"{uri}: the store no longer exists (no {self.path}): was its folder moved, emptied or "
                "unmounted? Nothing more was written"
            )
        if content.to_pybytes() != self._content:
            raise StoreError(
                f"{uri}: was replaced by another store ({self.path} has changed): nothing else was written"
            )
        self._seen = mark
