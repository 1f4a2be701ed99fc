"""A small network, and a line in a file for each run that any process begins to train."""

import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

MODEL = "chaos_model"
"""The name of a copy of this module: what lies in Longtail's own folders is no user's."""

TRAINED = "LONGTAIL_CHAOS_TRAINED"
"""Names the file; where it is not set, nothing is written."""


@dataclass(frozen=True)
class Begun:
    """A run whose training began: monotonic seconds, the worker's process, the run's initialisation seed."""

    at: float
    pid: int
    seed: int


def noted_mlp(input_shape: tuple[int, ...], num_classes: int, hidden: int) -> nn.Module:
    """One hidden layer. Weights come from torch's global generator, whose seed says which run this is."""
    note = os.environ.get(TRAINED)
    if note is not None:
        line = f"{time.monotonic()} {os.getpid()} {torch.initial_seed()}\n"
        with Path(note).open("a") as file:  # one write of less than a page: appended whole
            file.write(line)
    pixels = math.prod(input_shape)
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, num_classes))


def read_begun(note: Path) -> list[Begun]:
    """What was noted, in order; a process that builds a run's model several times counts once."""
    first_begun: dict[tuple[int, int], Begun] = {}
    for line in note.read_text().splitlines() if note.exists() else ():
        at, pid, seed = line.split()
        first_begun.setdefault((int(pid), int(seed)), Begun(float(at), int(pid), int(seed)))
    return sorted(first_begun.values(), key=lambda begun: begun.at)
