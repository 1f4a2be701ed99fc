"""Checks of models: does the input suit them, and is the output one logit per class."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch.utils.flop_counter import FlopCounterMode

from workers.errors import ModelError

_BATCH = 2


def image_shape(name: str, input_shape: tuple[int, ...], smallest: int) -> tuple[int, int, int]:
    """(C, H, W) of the input. Raises ModelError where it is no image, or one under smallest x smallest pixels."""
    if len(input_shape) != 3:
        raise ModelError(f"model {name}: needs images [C, H, W], got inputs of shape {list(input_shape)}")
    channels, height, width = input_shape
    if min(height, width) < smallest:
        raise ModelError(
            f"model {name}: needs images of at least {smallest} x {smallest} pixels, got {width} x {height}"
        )
    return channels, height, width


def check_output(model: torch.nn.Module, input_shape: tuple[int, ...], num_classes: int) -> int:
    """Check that the model maps a batch of inputs to floating-point logits [B, num_classes].

    Returns the floating-point operations of one example's forward pass, in matrix products and convolutions.
    Tried on two zero inputs in evaluation mode; weights, buffers, modes and random generators stay as they are.
    Raises ModelError; what the model raises passes through.
    """
    parameter = next(chain(model.parameters(), model.buffers()), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    with _unchanged(model, device), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()
        output = model(torch.zeros(_BATCH, *input_shape, device=device))
    if not isinstance(output, torch.Tensor):
        raise ModelError(f"model: must return a tensor [B, {num_classes}] of logits, got {type(output).__name__}")
    if tuple(output.shape) != (_BATCH, num_classes) or not output.is_floating_point():
        raise ModelError(
            f"model: must return floating-point logits [{_BATCH}, {num_classes}] for {_BATCH} inputs of shape "
            f"{list(input_shape)}, got {output.dtype} {list(output.shape)}"
        )
    return int(counter.get_total_flops()) // _BATCH


@contextmanager
def _unchanged(model: torch.nn.Module, device: torch.device) -> Iterator[None]:
    """Restore each module's mode, the buffers' values and the random generators of the CPU and of the device."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training
            with torch.no_grad():
                for buffer, value in buffers:
                    buffer.copy_(value)
