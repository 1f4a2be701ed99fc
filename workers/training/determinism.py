"""Deterministic settings of torch: the same seeds give the same bits on the same hardware and versions."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Deterministic kernels, full float32 products, one CPU thread; the former settings and generators come back.

    One thread because the split of a sum over threads changes its rounding: with it, results do not depend on how many
    cores a worker has. Workers, not threads, fill a machine.
    """
    # cuBLAS reads this when it starts; without it deterministic mode refuses matrix products.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    threads = torch.get_num_threads()
    algorithms = torch.get_deterministic_debug_mode()
    memory: Any = torch.utils.deterministic  # its one attribute is a property that type checkers do not see
    fill = memory.fill_uninitialized_memory
    precision = torch.get_float32_matmul_precision()
    devices = [device] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=devices),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
    ):
        torch.set_num_threads(1)
        # The same as use_deterministic_algorithms, which imports the compiler: most of a second in every worker.
        torch.set_deterministic_debug_mode("error")
        memory.fill_uninitialized_memory = False
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.set_deterministic_debug_mode(algorithms)
            memory.fill_uninitialized_memory = fill
            torch.set_float32_matmul_precision(precision)
