"""The state of a trainer between two epochs, apart from its campaign, data and runs.

Of a model that are its parameters and buffers, persistent or not, and torch's global generators, from which dropout in
a user's own model draws. What a model keeps elsewhere (plain attributes, files, generators of its own) is not known
here; a model that declares such state with `get_extra_state` is not checkpointed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from workers.campaign.recipe import Recipe
from workers.training.lookahead import SlowWeights, running_statistics
from workers.training.minibatch_streams import MinibatchStreams
from workers.training.optimizers import Update


@dataclass(frozen=True)
class TrainerState:
    """A trainer between two epochs: everything on the device and of torch's generators, by name; updates so far; and
    for each run the state of NumPy's generators, by purpose."""

    tensors: dict[str, torch.Tensor]
    step: int
    streams: Sequence[dict[str, dict[str, Any]]]


class ResumableTrainer:
    """Base class of trainers: returns and restores their state.

    `modules` hold all weights and buffers, `generators` are those of torch that training draws from.
    """

    def __init__(
        self,
        modules: Sequence[nn.Module],
        recipe: Recipe,
        update: Update,
        presentations: Sequence[MinibatchStreams],
        generators: Sequence[torch.Generator],
    ) -> None:
        self.update = update
        self.presentations = presentations
        self.epochs = recipe.epochs
        self.step = 0
        self._modules = nn.ModuleList(modules)
        self._generators = generators
        statistics = running_statistics(self._modules)
        self._lookahead = (
            None if recipe.lookahead is None else SlowWeights(recipe.lookahead, update.weights, statistics)
        )

    def end_step(self, steps: int) -> None:
        """Count an update, in epochs of `steps`, and apply lookahead."""
        self.step += 1
        if self._lookahead is not None:
            self._lookahead.follow(self.step, self.epochs * steps)

    def begin_anew(self, presentations: Sequence[MinibatchStreams]) -> None:
        """Reset to the state before the first step, for other runs; the tensors stay, with other values."""
        self.presentations = presentations
        self.step = 0
        self.update.reset()
        if self._lookahead is not None:
            self._lookahead.reset()

    def draw_ahead(self, steps: int) -> None:
        """Draw the next epoch of `steps` minibatches, if there is one: a GPU is still busy with the one before."""
        if self.step < self.epochs * steps:
            for presentation in self.presentations:
                presentation.draw_ahead()

    def state(self) -> TrainerState:
        """The trainer as it is; tensors are its own, not copies. Raises ValueError where a module's state is hidden."""
        generators = {f"generator.{i}": generator.get_state() for i, generator in enumerate(self._generators)}
        streams = [presentation.state() for presentation in self.presentations]
        return TrainerState(self._tensors() | generators, self.step, streams)

    def restore(self, state: TrainerState) -> None:
        """Continue from `state`, which came from a trainer of the same runs; values are changed in place.

        Raises ValueError, with nothing changed, where a name, shape or type differs; RuntimeError, when the trainer is
        not to be used any more, where a generator refuses its state.
        """
        mine = self.state()
        if _form(mine) != _form(state):
            raise ValueError("holds the state of another model")
        with torch.no_grad():
            for name, tensor in self._tensors().items():
                tensor.copy_(state.tensors[name])
        for i, generator in enumerate(self._generators):
            generator.set_state(state.tensors[f"generator.{i}"])
        for presentation, streams in zip(self.presentations, state.streams, strict=True):
            presentation.restore(streams, epoch=state.step // presentation.steps)
        self.step = state.step

    def _tensors(self) -> dict[str, torch.Tensor]:
        for name, module in self._modules.named_modules():
            if type(module).get_extra_state is not nn.Module.get_extra_state:
                raise ValueError(f"module {name} has extra state, which checkpoints do not hold")
        slow = {} if self._lookahead is None else self._lookahead.tensors()
        named = {**dict(self._modules.named_parameters()), **dict(self._modules.named_buffers())}
        return {f"module.{name}": tensor.detach() for name, tensor in named.items()} | {
            f"update.{name}": tensor for name, tensor in (self.update.tensors() | slow).items()
        }


def _form(state: TrainerState) -> tuple[dict[str, Any], int]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in state.tensors.items()}, len(state.streams)


def global_generators(device: torch.device) -> list[torch.Generator]:
    """torch's own generators: the CPU's, and that of the GPU which trains."""
    if device.type != "cuda":
        return [torch.default_generator]
    index = torch.cuda.current_device() if device.index is None else device.index
    return [torch.default_generator, torch.cuda.default_generators[index]]
