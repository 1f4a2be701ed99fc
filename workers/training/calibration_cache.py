"""Remembers the stacks that a calibration chose, in the cache directory: one small file for each campaign and device.

Stores of one campaign on one machine so get the same stack, also where the machine is busy at one of the times.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping
from contextlib import suppress

from workers.datasets.cache import cache_root
from workers.store.stack_program import StackProgram
from workers.training.stack_choice import StackChoice

_MAX_BYTES = 10_000


class CalibrationRecord:
    """The file of one calibration. `question` has everything that the answer depends on."""

    def __init__(self, question: Mapping[str, object]) -> None:
        self._question = json.loads(json.dumps(question))
        key = hashlib.sha256(json.dumps(self._question, sort_keys=True).encode()).hexdigest()
        self.path = cache_root() / "calibrations" / f"{key}.json"

    def read(self, largest: int) -> StackChoice | None:
        """The stack chosen before, of at most `largest` models; None where the file is missing or holds none."""
        try:
            if not self.path.is_file():  # a pipe would be waited for
                return None
            with self.path.open("rb") as file:
                entry = json.loads(file.read(_MAX_BYTES))
            if entry["question"] != self._question or type(entry["stack_size"]) is not int:
                return None
            choice = StackChoice(entry["stack_size"], StackProgram.model_validate(entry["program"]))
            return choice if 1 <= choice.size <= largest else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def write(self, choice: StackChoice) -> None:
        """Keep a stack, the file whole or not at all; where it cannot be written, the next call measures again."""
        temporary = self.path.with_name(f"{uuid.uuid4().hex}.tmp")
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                entry = {"stack_size": choice.size, "program": choice.program.model_dump()}
                temporary.write_text(json.dumps({"question": self._question, **entry}))
                temporary.replace(self.path)
            finally:
                temporary.unlink(missing_ok=True)
