"""Checks that models can be stacked: a stack's outputs must equal its models' outputs."""

from collections.abc import Callable
from itertools import chain

import torch
from torch import nn

from workers.models.stacking.layers import StackedDropout
from workers.models.stacking.model import NotStackableError, StackedModel
from workers.models.stage_dropout import ChannelDropout
from workers.user_code.boundary import user_code

_BATCH = 6
"""Examples of each model. Batch statistics of maps of one pixel over three of them blow rounding up."""
_TOLERANCE = 1e-3


def unstackable_reason(build: Callable[[], nn.Module], input_shape: tuple[int, ...]) -> str | None:
    """None where models of this kind can be stacked, else the reason, for people.

    Two models that `build` returns are stacked and compared with themselves on random inputs, in training and in
    evaluation mode: a model that mixes the examples of a batch, or draws random numbers, by means of its own is found
    out here. Weights are drawn from a fixed seed, so that all workers decide alike; torch's generator stays as it is.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        models = [build() for _ in range(2)]
    try:
        stack = StackedModel(models)
    except NotStackableError as error:
        return str(error)
    random = torch.Generator().manual_seed(0)
    images = torch.rand((2 * _BATCH, *input_shape), generator=random)
    for training in (True, False):
        stack.train(training)
        for model in models:
            model.train(training)
        for module in chain(stack.layers, *(model.modules() for model in models)):
            if isinstance(module, StackedDropout | ChannelDropout | nn.Dropout | nn.Dropout2d):
                module.eval()
        with user_code("model"), torch.no_grad():
            together = stack(images.clone())
            apart = torch.cat([model(part.clone()) for model, part in zip(models, images.chunk(2), strict=True)])
        if not torch.allclose(together, apart, rtol=_TOLERANCE, atol=_TOLERANCE * float(apart.abs().max())):
            return (
                "cannot be batched across models: outputs differ, because examples of a batch interact or forward "
                "draws random numbers"
            )
    return None
