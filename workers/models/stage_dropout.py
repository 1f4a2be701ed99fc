"""Dropout modules behind a model's stages: example-tied dropout, and its two baselines.

P. Maini, M. C. Mozer, H. Sedghi, Z. C. Lipton, J. Z. Kolter, C. Zhang, "Can neural network memorization be localized?",
ICML 2023, section 6. Masks are neither parameters nor buffers: they follow from the campaign's seed, so that no
checkpoint and no `state_dict` has them (`workers.training.stage_masks`).
"""

import math
from typing import Literal

import torch
from torch import nn

from workers.campaign.stage_dropout import ExampleTied, SparseChannels, StageDropout, StandardDropout

Mode = Literal["drop", "scaled", "own"]
"""Of example-tied dropout in evaluation. `drop`: memorization channels are 0, generalization channels times the factor.
`scaled`: memorization channels times p_mem. `own`: as in training, each training example with its own channels."""

MODES: tuple[Mode, ...] = ("drop", "scaled", "own")


class ExampleMasks:
    """bool[N, C] as bits, uint8[N, ceil(C / 8)]: which of C channels are on for each of N examples.

    Never changed, so that copies of a model share it.
    """

    def __init__(self, bits: torch.Tensor, channels: int) -> None:
        self.bits = bits
        self.channels = channels
        self._places = torch.arange(8, dtype=torch.uint8, device=bits.device)

    def __deepcopy__(self, memo: object) -> "ExampleMasks":
        return self

    def select(self, examples: torch.Tensor) -> torch.Tensor:
        """uint8[B, C], 0 or 1, of examples int64[B]. The same operations whatever the values."""
        rows = self.bits.index_select(0, examples)
        return ((rows[:, :, None] >> self._places) & 1).flatten(1)[:, : self.channels]


class StageModule(nn.Module):
    """Base: what multiplies the `channels` of a stage, which are axis 1 of maps and the last axis of tokens."""

    def __init__(self, stage: int, channels: int, axis: int) -> None:
        super().__init__()
        self.stage = stage
        self.channels = channels
        self.axis = axis

    def multiplied(self, x: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
        """x [B, ...] times factors [C] or [B, C], in x's dtype."""
        ones = (1,) * (x.ndim - 2)
        examples = (len(factors),) if factors.ndim == 2 else (1,)
        shape = (*examples, self.channels, *ones) if self.axis == 1 else (*examples, *ones, self.channels)
        return x * factors.to(x.dtype).view(shape)


class ExampleTiedDropout(StageModule):
    """See `workers.campaign.stage_dropout.ExampleTied`.

    Without masks, which checks of a model and estimates of its memory do without, training computes as evaluation does.
    """

    def __init__(self, stage: int, channels: int, axis: int, spec: ExampleTied) -> None:
        super().__init__(stage, channels, axis)
        self.spec = spec
        self.generalization = count(spec.p_gen, channels)
        """Channels that are always on."""
        self.mode: Mode = "drop"
        self.masks: ExampleMasks | None = None
        self.examples: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, ...] to the same shape and dtype; with masks of examples int64[B] that were given by `show_examples`."""
        if self.masks is not None and (self.training or self.mode == "own"):
            if self.examples is None:
                raise RuntimeError("example-tied dropout: call show_examples with the examples' indices before forward")
            return self.multiplied(x, self.masks.select(self.examples))
        scaled = self.mode == "scaled"
        first, rest = (1.0, self.spec.p_mem) if scaled else (self.spec.factor_value, 0.0)
        counts = (self.generalization, self.channels - self.generalization)
        return self.multiplied(x, torch.cat([x.new_full((counts[0],), first), x.new_full((counts[1],), rest)]))


class ChannelDropout(StageModule):
    """Whole channels are 0 with probability p for an example of a minibatch, others times 1 / (1 - p).

    Draws from torch's global generator; a stack draws from each run's own (`workers.models.stacking.layers`).
    """

    def __init__(self, stage: int, channels: int, axis: int, spec: StandardDropout) -> None:
        super().__init__(stage, channels, axis)
        self.p = 1 - spec.keep

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, ...] to the same shape and dtype."""
        if not self.training or self.p == 0:
            return x
        mask = torch.empty((len(x), self.channels), device=x.device).bernoulli_(1 - self.p)
        return self.multiplied(x, mask / (1 - self.p))


class SparseMask(StageModule):
    """One mask of the channels for all examples. Without a mask, as `ExampleTiedDropout`: the first channels are on."""

    def __init__(self, stage: int, channels: int, axis: int, spec: SparseChannels) -> None:
        super().__init__(stage, channels, axis)
        self.keep = spec.keep
        self.kept = count(spec.keep, channels)
        """Channels that are on."""
        self.mask: torch.Tensor | None = None
        """bool[C]"""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, ...] to the same shape and dtype."""
        mask = torch.arange(self.channels, device=x.device) < self.kept if self.mask is None else self.mask
        return self.multiplied(x, mask.float() / self.keep)


def stage_module(spec: StageDropout, stage: int, channels: int, axis: int) -> StageModule:
    """What stands behind a stage, which is the number `stage` from 0."""
    match spec:
        case ExampleTied():
            return ExampleTiedDropout(stage, channels, axis, spec)
        case StandardDropout():
            return ChannelDropout(stage, channels, axis, spec)
        case SparseChannels():
            return SparseMask(stage, channels, axis, spec)


def count(share: float, channels: int) -> int:
    """floor(share x channels), for the decimal that was meant: 0.29 of 100 are 29."""
    return math.floor(round(share * channels, 6))


def example_tied(model: nn.Module) -> list[ExampleTiedDropout]:
    """The example-tied dropout in a model, in the order of its modules."""
    return [module for module in model.modules() if isinstance(module, ExampleTiedDropout)]


def set_mode(model: nn.Module, mode: Mode) -> None:
    """How example-tied dropout evaluates, of a model or of a stack's `layers`. New models have `drop`."""
    for module in example_tied(model):
        module.mode = mode


def show_examples(modules: list[ExampleTiedDropout], examples: torch.Tensor) -> None:
    """Say which training examples, int64[B], the next forward pass is of: all calls in training, and mode `own`.

    Raises RuntimeError where masks are missing (`workers.training.stage_masks.set_masks`).
    """
    for module in modules:
        if module.masks is None:
            raise RuntimeError("example-tied dropout: has no masks: call set_masks")
        module.examples = examples
