"""Results of the campaigns as Markdown: injected faults, their cost, and the environment."""

import importlib.metadata
import os
import platform
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median

from benchmarks.chaos.campaign import NODES, SLOTS, WORKERS, Result
from benchmarks.chaos.faults import LOCAL, REMOTE
from benchmarks.chaos.history import Injection


def table(results: Sequence[Result], pace: float) -> list[str]:
    """One row per kind of fault. `pace`: seconds per run of an undisturbed campaign between its commits."""
    injections = [injection for result in results for injection in result.injections]
    lines = [
        "| fault | injected | runs lost | runs in two files for a while | runs trained again "
        "| extra s, median (range) |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in dict.fromkeys([*LOCAL, *REMOTE]):
        of_it = [injection for injection in injections if injection.name == name]
        if of_it:
            lines.append(f"| {name} | {_cells(of_it, pace)} |")
    lines.append(f"| **all** | {_cells(injections, pace)} |")
    return lines


def replacements(results: Sequence[Result]) -> list[str]:
    """Seconds from a kill to the first run that a new process committed, for kinds of which it was seen."""
    lines = ["| killed | seen | s to a replacement's first run, median (range) |", "| --- | --- | --- |"]
    for name in ("worker killed", "raylet killed", "node killed", "node frozen, then back", "driver killed"):
        all_of_it = [injection for result in results for injection in result.injections if injection.name == name]
        seconds = [each.replaced_after for each in all_of_it if each.replaced_after is not None]
        if seconds:
            lines.append(f"| {name} | {len(seconds)} of {len(all_of_it)} | {_spread(seconds)} |")
    return lines


def summary(results: Sequence[Result], undisturbed: Result, pace: float) -> list[str]:
    """The campaigns as a whole, in sentences."""
    injected = sum(len(result.injections) for result in results)
    sound = sum(not result.problems for result in results)
    polls = sum(result.polls for result in results)
    ended = sum(len(result.ended) for result in results)
    runs = 2 * undisturbed.plan.repetitions
    buckets = sum(result.plan.location == "bucket" for result in results)
    seconds = [result.seconds for result in results]
    return [
        f"{len(results)} campaigns of {runs} runs ({buckets} on S3), {injected} faults; {sound} of {len(results)} "
        "campaigns ended with every run once, all bits equal and every check passed.",
        f"Readers looked {polls} times. Drivers ended {ended} times with an error and were started again.",
        f"From the first commit to the last: undisturbed {undisturbed.seconds:.1f} s ({pace:.3f} s a run), disturbed "
        f"{_spread(seconds)} s."
        if seconds
        else "",
    ]


def circumstances(command: str) -> list[str]:
    """Hardware, versions, cluster and command."""
    names = ("ray", "torch", "pyarrow", "pandas", "moto")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    return [
        f"`{command}`",
        f"{_processor()}, {os.cpu_count()} cores, Linux {platform.release()}; Python {platform.python_version()}, "
        f"{versions}.",
        f"Cluster: a head without CPUs and {NODES} nodes of {SLOTS} CPUs; {WORKERS} workers per driver.",
    ]


def _cells(injections: Sequence[Injection], pace: float) -> str:
    def total(count: Callable[[Injection], int]) -> int:
        return sum(count(injection) for injection in injections)

    extra = [injection.seconds - injection.runs * pace for injection in injections]
    cells = [len(injections), total(lambda i: i.lost), total(lambda i: i.duplicated), total(lambda i: i.again)]
    return " | ".join([*(str(cell) for cell in cells), _spread(extra) if extra else ""])


def _spread(values: Iterable[float]) -> str:
    ordered = sorted(values)
    return f"{median(ordered):.1f} ({ordered[0]:.1f} to {ordered[-1]:.1f})"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
