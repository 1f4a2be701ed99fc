"""Draws the masks of a campaign's stage dropout: common to all runs, and the same at every start of a worker."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from workers.campaign.campaign import Campaign
from workers.campaign.stage_dropout import ExampleTied
from workers.models.stage_dropout import ExampleMasks, SparseMask, example_tied
from workers.subsets.draw import stage_generator

_CHUNK = 1 << 24
"""Values drawn at a time."""


def set_masks(model: nn.Module, campaign: Campaign, num_train: int, device: torch.device) -> None:
    """Give the stage dropout in a model its masks, on the device. A model without any stays as it is.

    Each stage has a stream of its own, whatever the p_gen and p_mem: the masks of a larger p_mem hold those of a
    smaller one. One campaign's masks are kept in memory for the models to come.
    """
    tied = example_tied(model)
    spec, seed = campaign.model.stage_dropout, campaign.subsets.seed
    if tied and isinstance(spec, ExampleTied):
        sizes = tuple((each.stage, each.channels, each.generalization) for each in tied)
        for module, masks in zip(tied, _example_masks(seed, sizes, spec.p_mem, num_train, device), strict=True):
            module.masks = masks
    for sparse in (module for module in model.modules() if isinstance(module, SparseMask)):
        kept_channels = stage_generator(seed, sparse.stage).permutation(sparse.channels)[: sparse.kept]
        mask = torch.zeros(sparse.channels, dtype=torch.bool)
        mask[torch.from_numpy(kept_channels)] = True
        sparse.mask = mask.to(device)


def mask_bytes(model: nn.Module, num_train: int) -> int:
    """Memory of the masks of a model's example-tied dropout, of all examples."""
    return sum(num_train * -(-module.channels // 8) for module in example_tied(model))


@lru_cache(1)
def _example_masks(
    seed: int, sizes: tuple[tuple[int, int, int], ...], p_mem: float, num_train: int, device: torch.device
) -> tuple[ExampleMasks, ...]:
    """Of each stage, its channels, and how many of them are always on."""
    return tuple(
        ExampleMasks(torch.from_numpy(_bits(seed, stage, channels, always, p_mem, num_train)).to(device), channels)
        for stage, channels, always in sizes
    )


def _bits(seed: int, stage: int, channels: int, always: int, p_mem: float, num_train: int) -> npt.NDArray[np.uint8]:
    """uint8[N, ceil(C / 8)]: bit j of byte b of a row is channel 8 b + j."""
    random = stage_generator(seed, stage)
    bits = np.empty((num_train, -(-channels // 8)), dtype=np.uint8)
    step = max(1, _CHUNK // channels)
    for start in range(0, num_train, step):
        rows = min(step, num_train - start)
        on = random.random((rows, channels), dtype=np.float32) < p_mem
        on[:, :always] = True
        bits[start : start + rows] = np.packbits(on, axis=1, bitorder="little")
    return bits
