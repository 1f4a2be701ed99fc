"""Rows of the update alone: Triton's one pass beside PyTorch's fused kernels, on the weights of 200 MLPs for MNIST."""

from functools import partial

import torch
from torch import nn

from benchmarks.gpu.floor import mean_seconds
from benchmarks.gpu.journal import NotMeasuredError, Row, Values
from workers.campaign.recipe import SGD, AdamW
from workers.models.stacking import Weight
from workers.training.elementwise_update import ElementwiseUpdate, triton_update_factory

SHAPES = ((200, 512, 784), (200, 256, 512))
STEPS = 3

_CONFIGS: dict[str, SGD | AdamW] = {
    "SGD": SGD(momentum=0.9),
    "SGD, Nesterov, weight decay": SGD(momentum=0.85, nesterov=True, weight_decay=5e-4),
    "AdamW": AdamW(name="adamw", weight_decay=0.01),
}


def update_rows(device: str) -> list[Row]:
    """One for each kind of step."""
    return [
        Row("update", name, partial(measure_update, config, device, SHAPES), 15) for name, config in _CONFIGS.items()
    ]


def measure_update(config: SGD | AdamW, device: str, shapes: tuple[tuple[int, ...], ...]) -> Values:
    """Milliseconds of a step, and how far weights are from PyTorch's after three steps."""
    where = torch.device(device)
    if where.type != "cuda" or triton_update_factory(where) is None:
        raise NotMeasuredError("needs a GPU for which Triton can compile")
    ours, theirs = (_update(config, where, shapes, one_pass=one_pass) for one_pass in (True, False))
    gradients = [torch.randn(shape, device=where).to(torch.bfloat16) for shape in shapes]
    for update in (ours, theirs):
        for _ in range(STEPS):
            update.apply(gradients)
    pairs = [(our.master, their.master) for our, their in zip(ours.weights, theirs.weights, strict=True)]
    different = sum(int((our != their).sum()) for our, their in pairs)
    count = sum(our.numel() for our, _ in pairs)
    seconds = mean_seconds(lambda: ours.apply(gradients), where)
    state = 1 if isinstance(config, SGD) else 2
    return {
        "ms": 1000 * seconds,
        "PyTorch's ms": 1000 * mean_seconds(lambda: theirs.apply(gradients), where),
        "TB/s": (12 + 8 * state) * count / seconds / 1e12,
        "weights that differ": f"{different} of {count}",
        "largest difference": max(float((our - their).abs().max()) for our, their in pairs),
    }


def _update(
    config: SGD | AdamW, device: torch.device, shapes: tuple[tuple[int, ...], ...], *, one_pass: bool
) -> ElementwiseUpdate:
    generator = torch.Generator(device).manual_seed(0)
    masters = [torch.randn(shape, generator=generator, device=device) for shape in shapes]
    weights = [Weight(master, nn.Parameter(master.to(torch.bfloat16))) for master in masters]
    update = ElementwiseUpdate(dict(enumerate(weights)), config, one_pass=one_pass)
    update.set_rate_factor(1.0)
    return update
