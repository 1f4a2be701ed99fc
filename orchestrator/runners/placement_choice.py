"""The rule of `--runner auto`: train in this process, or on all cores or GPUs of this machine with Ray."""

import os
import sys
from dataclasses import dataclass, replace
from typing import Literal

from orchestrator.runners.machine_slots import MachineSlots, machine_slots
from workers.common.durations import in_largest_unit
from workers.common.extras import installation, is_installed

START_SECONDS = {"cpu": 8.0, "cuda": 50.0}
"""From the start of Ray until all workers are ready. Measured: 7 s for two on two cores, 48 s for four on an H100
(benchmarks/RESULTS.md)."""

MOST_OPERATIONS = {"cpu": 1e12, "cuda": 1e14}
"""Floating-point operations per second that a worker does not exceed in training: twice the bfloat16 matrix peak of a
core that has one (478 GFLOP/s, benchmarks/RESULTS.md); 13% of an H100's (3% and 9% in training)."""


@dataclass(frozen=True)
class PlacementChoice:
    """Where work is done, and why: `text` completes "training".

    `where` is None as long as the work's time is not known and decides: it starts in this process.
    """

    where: Literal["here", "ray"] | None
    text: str
    workers: int = 1
    timed: bool = False
    """Whether it is a measured time that speaks for Ray."""


def choose_placement(device: str, shards: int, operations: float, seconds: float | None) -> PlacementChoice:
    """Where so many shards train best on `cpu` or `cuda`, which are `operations` for one worker.

    `seconds` are those that one worker needs, as measured; None: not known.
    """
    slots = machine_slots(device, shards)
    if slots.workers < 2:
        return PlacementChoice("here", f"in this process: {slots.bound}")
    if seconds is None:
        least = operations / MOST_OPERATIONS[device]
        if worth_starting_ray(least, slots.workers, device):
            return _with_ray(slots, f"at least {_about(least)}")
        return PlacementChoice(None, _undecided(slots, device))
    if not worth_starting_ray(seconds, slots.workers, device):
        text = f"in this process: about {_about(seconds)} of work; starting Ray would take longer"
        return PlacementChoice("here", text)
    return replace(_with_ray(slots, f"about {_about(seconds)}"), timed=True)


def worth_starting_ray(seconds: float, workers: int, device: str) -> bool:
    """Whether work of `seconds` for one worker ends sooner on so many, which Ray has to start first."""
    return START_SECONDS[device] + seconds / workers < seconds


def _with_ray(slots: MachineSlots, work: str) -> PlacementChoice:
    """With Ray, unless something hinders it."""
    hindrance = _hindrance(slots)
    if hindrance is not None:
        return PlacementChoice("here", f"in this process, {work} of work: {hindrance}")
    return PlacementChoice("ray", f"on {slots.text} with Ray: {work} of work for one worker", slots.workers)


def _undecided(slots: MachineSlots, device: str) -> str:
    hindrance = _hindrance(slots)
    if hindrance is not None:
        return f"in this process: {hindrance}"
    enough = START_SECONDS[device] * slots.workers / (slots.workers - 1)
    return f"in this process, and on {slots.text} with Ray if more than {_about(enough)} of work are left"


def _hindrance(slots: MachineSlots) -> str | None:
    """Why Ray is not started for workers on these slots; None: nothing hinders it."""
    if not is_installed("ray"):
        return f"Ray is not installed, {installation('ray')} trains on {slots.text}"
    ray = sys.modules.get("ray")
    if os.environ.get("RAY_ADDRESS") or (ray is not None and ray.is_initialized()):
        return "RAY_ADDRESS is set or Ray is initialized; --runner ray uses that cluster"
    return None


def _about(seconds: float) -> str:
    """In whole units."""
    amount, unit = in_largest_unit(seconds)
    return f"{max(1, round(seconds))} s" if unit == "seconds" else f"{amount:.0f} {unit}"
