"""The number of workers that fit on this machine."""

from dataclasses import dataclass

import torch

from workers.campaign.plural import count_text
from workers.common.free_memory import free_memory
from workers.common.usable_cores import usable_cores

WORKER_BYTES = 2**30
"""Memory of a worker before its models: PyTorch, Ray, Arrow (measured: 0.9 GB)."""


@dataclass(frozen=True)
class MachineSlots:
    """`workers` that fit on the cores or GPUs that `text` counts (`2 cores`); `bound`: the reason why no more fit."""

    workers: int
    text: str
    bound: str


def machine_slots(device: str, shards: int) -> MachineSlots:
    """Room for workers that train so many shards on `cpu` or `cuda`, each on a core or GPU of its own; one at least."""
    unit, there = ("core", usable_cores()) if device == "cpu" else ("GPU", torch.cuda.device_count())
    memory = free_memory()
    bounds = [
        (shards, f"{count_text(shards, 'shard')} {'is' if shards == 1 else 'are'} left"),
        (there, f"this machine has {count_text(there, unit)}"),
    ]
    if memory is not None:
        bounds.append((memory // WORKER_BYTES, f"memory is free for {count_text(memory // WORKER_BYTES, 'worker')}"))
    number, bound = min(bounds, key=lambda each: each[0])
    return MachineSlots(max(1, number), count_text(max(1, number), unit), bound)
