"""Remembers stack sizes that a calibration chose, in the cache directory: one small file for each campaign and device.

Stores of one campaign on one machine so get the same size, also where the machine is busy at one of the times.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress

from workers.datasets.cache import cache_root

_MAX_BYTES = 10_000


class CalibrationRecord:
    """The file of one calibration. `question` has everything that the answer depends on."""

    def __init__(self, question: Mapping[str, object]) -> None:
        self._question = json.loads(json.dumps(question))
        key = hashlib.sha256(json.dumps(self._question, sort_keys=True).encode()).hexdigest()
        self.path = cache_root() / "calibrations" / f"{key}.json"

    def read(self, sizes: Sequence[int]) -> int | None:
        """The size chosen before; None where there is none, or what the file holds is no answer to the question."""
        try:
            if not self.path.is_file():  # a pipe would be waited for
                return None
            with self.path.open("rb") as file:
                entry = json.loads(file.read(_MAX_BYTES))
            answered = entry["question"] == self._question and type(entry["stack_size"]) is int
            return entry["stack_size"] if answered and entry["stack_size"] in sizes else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def write(self, size: int) -> None:
        """Keep a size, the file whole or not at all; where it cannot be written, the next call measures again."""
        temporary = self.path.with_name(f"{uuid.uuid4().hex}.tmp")
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_text(json.dumps({"question": self._question, "stack_size": size}))
                temporary.replace(self.path)
            finally:
                temporary.unlink(missing_ok=True)
