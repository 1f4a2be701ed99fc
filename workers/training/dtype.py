"""Precision of matrix products: float32, TF32 or bfloat16."""

from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from workers.errors import StoreError
from workers.models.head import find_head

Precision = Literal["float32", "tf32", "bfloat16"]

DTYPES = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16}
"""Of the factors in memory."""


def fast_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16 products; without them they are many times slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def has_tf32(device: torch.device) -> bool:
    """Whether the device computes products in TF32 where it may: NVIDIA's GPUs of compute capability 8.0 or more."""
    if device.type != "cuda" or torch.version.hip is not None:
        return False
    return torch.cuda.get_device_capability(device) >= (8, 0)


def check_precision(precision: Precision, device: torch.device, uri: str) -> None:
    """Raise StoreError where a store's runs were trained in a precision that the device does not have.

    Every device computes in float32 and bfloat16, if slowly; one without TF32 would compute in float32 unasked.
    """
    if precision == "tf32" and not has_tf32(device):
        name = "the CPU" if device.type == "cpu" else torch.cuda.get_device_name(device)
        raise StoreError(
            f"{uri}: its models train in tf32, which {name} does not have: train on a GPU of compute capability 8.0 or "
            "more, or give another store, whose precision is decided anew"
        )


def autocast_to(precision: Precision, device: torch.device) -> torch.autocast:
    """A context: a module's matrix products and convolutions in this precision, its weights staying float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def keep_head_in_float32(model: nn.Module) -> None:
    """Compute the last linear layer in float32: ties of rounded logits would all go to the lowest class."""
    head = find_head(model)
    if head is not None:

        def forward(x: torch.Tensor) -> torch.Tensor:
            with torch.autocast(x.device.type, enabled=False):
                return F.linear(x.float(), head.weight, head.bias)

        head.forward = forward  # type: ignore[method-assign, assignment]
