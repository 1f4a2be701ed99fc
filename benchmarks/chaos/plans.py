"""Draws the faults of a campaign, and their times, from a seed."""

from random import Random

from benchmarks.chaos.campaign import Plan
from benchmarks.chaos.faults import COMPACTION, LOCAL, REMOTE

RATIOS = 2
_LAST = 0.85
"""No fault strikes later than at this share of the runs: every one must have work to disturb."""


def draw_plan(seed: int, number: int, faults: int, sizes: tuple[int, int], *, compaction: bool) -> Plan:
    """Campaign `number` of a seed. Every third store is an S3 bucket, the others are on a disk.

    `sizes`: repetitions at each ratio, epochs. `compaction` False leaves `longtail compact` out.
    """
    repetitions, epochs = sizes
    random = Random(f"{seed}-{number}")  # noqa: S311 - reproducible, not secret
    location = "bucket" if number % 3 == 2 else "disk"
    known = LOCAL if location == "disk" else REMOTE
    tickets = [name for name, (_, count) in known.items() for _ in range(count)]
    if not compaction:
        tickets = [name for name in tickets if name != COMPACTION]
    names: list[str] = []
    while len(names) < faults:
        names += random.sample(tickets, min(faults - len(names), len(tickets)))
    share = RATIOS * repetitions * _LAST / faults
    points = [int((place_in_line + random.random()) * share) + 1 for place_in_line in range(faults)]
    return Plan(location, f"{seed}-{number}", repetitions, epochs, list(zip(points, names, strict=True)))
