"""Deterministic settings of torch: the same seeds give the same bits on the same hardware and versions."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from workers.training.dtype import Precision


@contextmanager
def deterministic(device: torch.device, precision: Precision = "float32") -> Iterator[None]:
    """Deterministic kernels, one CPU thread, float32 products exact or in TF32 on a GPU; the former settings and
    generators come back.

    One thread because the split of a sum over threads changes its rounding: with it, results do not depend on how many
    cores a worker has. Workers, not threads, fill a machine.
    """
    # cuBLAS reads this when it starts; without it deterministic mode refuses matrix products.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    threads = torch.get_num_threads()
    algorithms = torch.get_deterministic_debug_mode()
    memory: Any = torch.utils.deterministic  # its one attribute is a property that type checkers do not see
    fill = memory.fill_uninitialized_memory
    devices = [device] if device.type == "cuda" else []
    tf32 = precision == "tf32" and device.type == "cuda"
    with torch.random.fork_rng(devices=devices), deterministic_products(tf32=tf32):
        torch.set_num_threads(1)
        # The same as use_deterministic_algorithms, which imports the compiler: most of a second in every worker.
        torch.set_deterministic_debug_mode("error")
        memory.fill_uninitialized_memory = False
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.set_deterministic_debug_mode(algorithms)
            memory.fill_uninitialized_memory = fill


@contextmanager
def deterministic_products(*, tf32: bool) -> Iterator[None]:
    """cuDNN's deterministic kernels; float32 products and convolutions on GPUs exact, or in TF32."""
    former = torch.get_float32_matmul_precision()
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=tf32):
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(former)
