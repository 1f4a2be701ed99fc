"""Recognizes that a device's memory is exhausted, and gives back what is held of it."""

import gc

import torch

_ALLOCATION_FAILED = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "_alloc_failed",
    "host_allocation_failed",
    "unable to allocate",
)
"""Of the messages of CUDA, cuBLAS, cuDNN and PyTorch's CPU allocator, which raise RuntimeError, and of NumPy's, which
raises a MemoryError."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether PyTorch or NumPy found no memory, also where another error followed from that.

    Any other MemoryError is none: it may come from anything in user code, and says nothing of the device.
    """
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        if isinstance(each, torch.OutOfMemoryError):
            return True
        if isinstance(each, RuntimeError | MemoryError) and any(
            text in str(each).lower() for text in _ALLOCATION_FAILED
        ):
            return True
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
    return False


def release_memory(device: torch.device) -> None:
    """Free models that nothing refers to any more; called where the error, which refers to tensors, is handled."""
    gc.collect()
    if device.type == "cuda":
        # A capture of a CUDA graph that fails leaves its own stream current.
        torch.cuda.set_stream(torch.cuda.default_stream(device))
    release_cached_blocks(device)


def release_cached_blocks(device: torch.device) -> None:
    """Give freed blocks back to the device, so that smaller ones can take their place."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
