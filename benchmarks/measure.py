"""Measurements: their fields, the order of contestants, and the table row of their repeats."""

import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any, Literal

OURS = "ours"

Accuracy = Literal["held out", "test"]
"""Of which examples: training examples outside the subset, or test examples."""


class PeerError(Exception):
    """A peer that cannot be measured: the text says why, in one line."""


@dataclass(frozen=True)
class Measurement:
    """One repeat of one contestant.

    `seconds` begin when every process is ready (started, data loaded) and end with the last model; `startup_seconds`
    come before. `operations` are floating-point operations per model, None where unknown; `precision` is that of its
    matrix products; `accuracy` the mean over its models.
    """

    work: str
    contestant: str
    models: int
    seconds: float
    startup_seconds: float
    accuracy: float | None
    accuracy_of: Accuracy
    operations: float | None
    precision: str
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Models per second."""
        return self.models / self.seconds


@dataclass(frozen=True)
class Contestant:
    """Something that trains a work's models. `measure` does one repeat; it raises PeerError."""

    work: str
    name: str
    measure: Callable[[], Measurement]


@dataclass(frozen=True)
class Row:
    """A contestant's repeats, their medians: rates are models per second; `ratio` is our rate over this one."""

    work: str
    contestant: str
    rate: float
    lowest: float
    highest: float
    ratio: float | None
    share_of_peak: float | None
    precision: str
    accuracy: float | None
    accuracy_of: Accuracy
    startup_seconds: float
    repeats: int


def turns(contestants: Sequence[Contestant], repeats: int) -> Iterator[Contestant]:
    """Every contestant once per repeat, forwards and backwards in turn, so that a drifting clock favours nobody."""
    for repeat in range(repeats):
        yield from contestants if repeat % 2 == 0 else reversed(contestants)


def rows(measurements: Sequence[Measurement], peaks: Mapping[str, float]) -> list[Row]:
    """One row per work and contestant, medians over repeats, in the order of first appearance.

    `peaks` are FLOP/s by precision; a precision without one has no share of it.
    """
    groups: dict[tuple[str, str], list[Measurement]] = {}
    for measurement in measurements:
        groups.setdefault((measurement.work, measurement.contestant), []).append(measurement)
    ours = {work: _median_rate(group) for (work, name), group in groups.items() if name == OURS}
    return [_row(group, ours.get(work), peaks) for (work, _), group in groups.items()]


def _row(group: Sequence[Measurement], ours: float | None, peaks: Mapping[str, float]) -> Row:
    first, rate = group[0], _median_rate(group)
    peak = peaks.get(first.precision)
    accuracies = [measurement.accuracy for measurement in group if measurement.accuracy is not None]
    return Row(
        work=first.work,
        contestant=first.contestant,
        rate=rate,
        lowest=min(measurement.rate for measurement in group),
        highest=max(measurement.rate for measurement in group),
        ratio=None if ours is None else ours / rate,
        share_of_peak=rate * first.operations / peak if peak and first.operations else None,
        precision=first.precision,
        accuracy=median(accuracies) if accuracies else None,
        accuracy_of=first.accuracy_of,
        startup_seconds=median(measurement.startup_seconds for measurement in group),
        repeats=len(group),
    )


def _median_rate(group: Sequence[Measurement]) -> float:
    return median(measurement.rate for measurement in group)


def cores() -> int:
    """CPU cores of this machine, as Ray counts them."""
    return os.cpu_count() or 1


def hardware(device: str) -> dict[str, Any]:
    """The machine: CPU model, the instruction set of torch's kernels, cores, and the GPUs where `device` is cuda."""
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())] if device == "cuda" else []
    instructions = torch.backends.cpu.get_cpu_capability()
    return {
        "cpu": _cpu_model(),
        "instructions": instructions,
        "machine": platform.machine(),
        "cores": cores(),
        "gpus": gpus,
    }


def versions() -> dict[str, str | None]:
    """Versions of Python and of what decides speed here; None where it is not installed."""
    packages = ("longtail", "torch", "torchvision", "numpy", "ray")
    return {"python": platform.python_version(), **{name: _version(name) for name in packages}}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or "unknown"
