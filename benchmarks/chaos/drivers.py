"""Drivers: `longtail run` as processes, with their exit codes and output."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.isolation import longtail

INTERRUPTED = 130
_HEAD_IS_GONE = "Failed to connect to GCS"
"""Ray ends a process whose cluster's head is gone, with a line of its own that begins so."""


@dataclass
class Ended:
    """A driver that ended: its exit code (negative: the signal), and its last lines."""

    code: int
    output: str

    @property
    def clear(self) -> bool:
        """Did it end as promised: done, killed from outside, interrupted, or with what is wrong in one line."""
        if self.code < 0 or self.code in (0, INTERRUPTED):
            return True
        told = any(line.startswith("error: ") or _HEAD_IS_GONE in line for line in self.output.splitlines())
        return self.code == 1 and told and "Traceback" not in self.output

    @property
    def last_line(self) -> str:
        """What it said at the end."""
        lines = [line for line in self.output.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("error: ")]
        return (errors or lines or ["nothing"])[-1]


class Driver:
    """A running `longtail run`."""

    def __init__(self, words: list[str], environment: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                longtail("run", *words), env=environment, stdout=file, stderr=subprocess.STDOUT
            )

    def ended(self) -> Ended | None:
        """How it ended; None while it runs."""
        code = self.process.poll()
        return None if code is None else Ended(code, self._log.read_text(errors="replace"))
