"""Rows as they are measured: printed at once, and appended to a file of JSON lines, so that a cut loses one row."""

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.cli.output import say

Values = Mapping[str, Any]
"""What a row says, in the order in which it is printed. Keys with `_` are written only; `_lines` go below the row."""


class NotMeasuredError(Exception):
    """Why a row has no values; one line."""


@dataclass(frozen=True)
class Row:
    """Something to measure. `expected` are the seconds that it takes, at most; it is left out where fewer are left."""

    section: str
    name: str
    measure: Callable[[], Values]
    expected: float = 10.0
    passed: Callable[[Values], bool] = lambda values: True


class Journal:
    """Measures rows until the time is up. `failed` counts those that did not pass, `open` those without values."""

    def __init__(self, path: Path, minutes: float, machine: Values) -> None:
        self.failed = 0
        self.open = 0
        self._path = path
        self._end = time.monotonic() + 60 * minutes
        self._machine = machine

    def add(self, row: Row) -> None:
        """Measure a row, and print and write it. What is raised beside NotMeasuredError is a row that did not pass."""
        started = time.monotonic()
        left = max(0.0, self._end - started)
        if row.expected > left:
            self._leave_open(row, f"would take {row.expected:.0f} s, and {left:.0f} s are left")
            return
        try:
            values = row.measure()
            status = "ok" if row.passed(values) else "FAILED"
        except NotMeasuredError as error:
            self._leave_open(row, str(error))
            return
        except Exception as error:  # noqa: BLE001 - the other rows are measured all the same
            values, status = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}, "FAILED"
        self.failed += status == "FAILED"
        self._write(row, status, {**values, "seconds": round(time.monotonic() - started, 2)})

    def _leave_open(self, row: Row, reason: str) -> None:
        self.open += 1
        self._write(row, "not measured", {"reason": reason})

    def _write(self, row: Row, status: str, values: Values) -> None:
        printed = ", ".join(f"{key} {_text(value)}" for key, value in values.items() if not key.startswith("_"))
        say(f"{row.section}: {row.name}: {status}: {printed}")
        for line in values.get("_lines", ()):
            say(f"  {line}")
        document = {"section": row.section, "name": row.name, "status": status, **values, "machine": self._machine}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(document) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
