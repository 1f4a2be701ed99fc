"""Detects a worker's machine: device type, bfloat16 support, free memory."""

from dataclasses import dataclass
from typing import Literal

import torch

from workers.common.free_memory import free_memory
from workers.training.dtype import fast_bfloat16, has_tf32


@dataclass(frozen=True)
class Machine:
    """A worker's device, and whether it is fast in bfloat16 and has TF32.

    `memory` is in bytes: a GPU's whole, whatever programs hold of it; a CPU's that is still free; 0 if unknown.
    """

    device: Literal["cpu", "cuda"]
    bfloat16: bool
    memory: int
    tf32: bool = False


def detect_machine(device: torch.device) -> Machine:
    """Detect the properties of a device."""
    if device.type == "cuda":
        return Machine("cuda", fast_bfloat16(device), torch.cuda.mem_get_info(device)[1], has_tf32(device))
    return Machine("cpu", fast_bfloat16(device), free_memory() or 0)
