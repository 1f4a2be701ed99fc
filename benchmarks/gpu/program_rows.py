"""Rows of a stack's programs: grouped, in streams, and both compiled; milliseconds of a step of one model."""

from functools import partial
from typing import Any

import torch

from benchmarks.gpu.cases import make_case_data
from benchmarks.gpu.journal import Row, Values
from workers.campaign.yaml_io import check_campaign
from workers.store.stack_program import GROUPED, StackProgram
from workers.training.stack_choice import StackChoice
from workers.training.timed_stack import TimedStack

STREAMS = StackProgram(kind="streams")
COMPILED = StackProgram(compiled=True)
COMPILED_STREAMS = StackProgram(kind="streams", compiled=True)

_CHOICES = [
    *(StackChoice(count, GROUPED) for count in (1, 4)),
    *(StackChoice(count, STREAMS) for count in (2, 4, 8)),
    *(StackChoice(count, COMPILED) for count in (1, 4)),
    *(StackChoice(count, COMPILED_STREAMS) for count in (2, 4)),
]

_MODELS: dict[str, tuple[dict[str, Any], int]] = {
    "airbench": ({"name": "airbench"}, 512),
    "resnet18": ({"name": "resnet18"}, 128),
}
"""Models and the examples of a minibatch, as on CIFAR-10."""


def program_rows(device: str) -> list[Row]:
    """One for each model, size and program."""
    return [
        Row("programs", f"{name}: {choice.size}, {choice.program}", partial(measure_program, name, choice, device), 60)
        for name in _MODELS
        for choice in _CHOICES
    ]


def measure_program(name: str, choice: StackChoice, device: str) -> Values:
    """A step of one model, what the first steps took, and whether they gave the same bits twice."""
    model, batch_size = _MODELS[name]
    recipe = {"epochs": 1, "batch_size": batch_size, "precision": "bfloat16"}
    subsets = {"ratios": [0.5], "repetitions": choice.size, "seed": 0}
    campaign = check_campaign({"dataset": {"name": "digits"}, "model": model, "recipe": recipe, "subsets": subsets})
    data = make_case_data(campaign, torch.device(device))
    timed = TimedStack(campaign, data, choice, "bfloat16")
    again = TimedStack(campaign, data, choice, "bfloat16")
    return {
        "ms": 1000 * min(timed.seconds, again.seconds) / choice.size,
        "first steps s": timed.first_seconds,
        "again s": again.first_seconds,
        "twice equal": torch.equal(timed.losses, again.losses),
        "loss": float(timed.losses[0, 0]) / batch_size,
    }
