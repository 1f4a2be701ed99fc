"""Limits the size of models, estimated on torch's meta device before a model is built."""

import math
import os
from collections.abc import Callable

import torch
from torch import nn

from workers.errors import ModelError

VARIABLE = "LONGTAIL_MAX_PARAMETERS"
"""Environment variable: the most parameters of a model that is built, in place of MAX_PARAMETERS."""
MAX_PARAMETERS = 75_000_000
"""ResNet-50 has 24 million. A plan makes four copies, so that a process stays below 2 GB."""
MAX_OUTPUT = 32 << 20
"""Bytes of a layer's output for one example, at MAX_PARAMETERS; ResNet-50 has 3 MB at 224 x 224 pixels."""

MAX_TRAINING = 1280 << 20
"""Bytes that training and evaluating take on a CPU, at MAX_PARAMETERS: a process has half a gigabyte before."""

SMALL_INPUT = 3 * 64 * 64
"""Values of an example: of one that is not larger, no layer's output is much larger than MAX_OUTPUT."""


def check_size(build: Callable[[], nn.Module], input_shape: tuple[int, ...]) -> None:
    """Raise ModelError where a model of standard layers would be larger than this machine's user allows.

    It is built and called on torch's meta device, which keeps shapes alone; random generators stay as they are.
    """
    most = max_parameters()
    with torch.device("meta"), torch.random.fork_rng(devices=[]), torch.no_grad():
        model = build().eval()
        count = sum(parameter.numel() for parameter in model.parameters())
        if count > most:
            raise ModelError(f"model: must have at most {most:,} parameters, got {count:,}{_advice(count)}")
        if math.prod(input_shape) <= SMALL_INPUT:
            return
        largest = 0

        def look(module: nn.Module, inputs: object, output: object) -> None:
            nonlocal largest
            if isinstance(output, torch.Tensor):
                largest = max(largest, output.numel() * 4)

        for module in model.modules():
            module.register_forward_hook(look)
        model(torch.zeros(1, *input_shape))
    allowed = MAX_OUTPUT * most // MAX_PARAMETERS
    if largest > allowed:
        raise ModelError(
            f"model: must give at most {allowed >> 20} MB in a layer for an example of shape {list(input_shape)}, "
            f"got {largest >> 20} MB{_advice(-(-largest * MAX_PARAMETERS // MAX_OUTPUT))}"
        )


def check_training_size(needed: int, what: str) -> None:
    """Raise ModelError where training takes more bytes than this machine's user allows; `what` needs them."""
    allowed = allowed_training()
    if needed > allowed:
        raise ModelError(
            f"{what} takes {needed >> 20:,} MB of memory, at most {allowed >> 20:,} MB are allowed on a CPU"
            f"{_advice(-(-needed * MAX_PARAMETERS // MAX_TRAINING))}"
        )


def allowed_training() -> int:
    """Bytes that training may take on a CPU. Raises ModelError as `max_parameters` does."""
    return MAX_TRAINING * max_parameters() // MAX_PARAMETERS


def max_parameters() -> int:
    """What LONGTAIL_MAX_PARAMETERS says, or MAX_PARAMETERS. Raises ModelError where it is no number."""
    text = os.environ.get(VARIABLE, "")
    if text and not (text.isascii() and text.isdecimal()):
        raise ModelError(f"{VARIABLE}: must be a whole number, got {text!r}")
    return int(text or MAX_PARAMETERS)


def _advice(needed: int) -> str:
    return f"; {VARIABLE}={needed} in the environment allows it"
