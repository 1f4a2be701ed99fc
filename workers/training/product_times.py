"""Times matrix products in each precision that a device supports, to show the cost of exact float32."""

import time

import torch

from workers.training.determinism import deterministic
from workers.training.dtype import DTYPES, Precision, has_tf32

_SIDE = 4096
_CALLS = 8


def product_times(device: torch.device, side: int = _SIDE) -> dict[Precision, float]:
    """Seconds of a product of two square matrices, by precision: the least of some calls."""
    precisions: list[Precision] = ["float32", *(["tf32"] if has_tf32(device) else []), "bfloat16"]  # type: ignore[list-item]
    return {precision: _seconds(device, precision, side) for precision in precisions}


def _seconds(device: torch.device, precision: Precision, side: int) -> float:
    taken = []
    with deterministic(device, precision):
        factor = torch.ones((side, side), dtype=DTYPES[precision], device=device)
        for _ in range(_CALLS):
            _wait(device)
            started = time.perf_counter()
            torch.mm(factor, factor)
            _wait(device)
            taken.append(time.perf_counter() - started)
    return min(taken)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
