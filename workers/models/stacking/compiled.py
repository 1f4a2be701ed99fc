"""Compiles a model's training pass with torch.compile, where that gives the same bits in every process."""

from collections.abc import Callable
from functools import cache
from typing import Any, cast

import torch
from torch import nn

Forward = Callable[[torch.Tensor], torch.Tensor]

_OPTIONS: dict[str, Any] = {"deterministic": True}
"""No kernel is chosen by timing it, so that workers agree on their arithmetic. Versions of PyTorch without this option
refuse it, and so are not used to compile."""


def compiled_forward(graph: nn.Module) -> Forward:
    """`graph`, compiled at its first call with each shape; on a GPU by Inductor into Triton kernels.

    Inductor keeps what it compiled in its cache on disk, for all processes of a machine. The first call raises what the
    compiler raises.
    """
    return cast(Forward, torch.compile(graph, fullgraph=True, dynamic=False, options=_OPTIONS))


@cache
def compiler_error(device: torch.device) -> str | None:
    """Why torch.compile does not work here, in one line; None where it does."""
    layer = nn.Sequential(nn.Linear(2, 2), nn.ReLU()).to(device)
    try:
        compiled_forward(layer)(torch.ones(1, 2, device=device)).sum().backward()  # type: ignore[no-untyped-call]
    except Exception as error:  # noqa: BLE001 - compilers fail in as many ways as they have parts
        return f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}"
    return None
