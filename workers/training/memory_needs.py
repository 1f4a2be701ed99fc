"""What the training of a model takes of a device's memory, estimated before anything is trained."""

from dataclasses import dataclass, replace
from functools import partial

from torch import nn

from workers.campaign.model_spec import ModelSpec
from workers.campaign.recipe import Recipe
from workers.models.building import build_standard
from workers.models.memory import activation_bytes
from workers.models.stacking.single_model import single_model_weights
from workers.training.dtype import DTYPES, Precision
from workers.training.lookahead import SlowWeights
from workers.training.optimizers import Update

_OPERATIONS = 5e9
"""Floating-point operations of the passes that are carried out for the estimate; larger ones are simulated."""


@dataclass(frozen=True)
class MemoryNeeds:
    """Bytes that one model takes in training, beside the data."""

    weights: int
    """With buffers, and with the copies in half precision that products are computed with."""
    gradients: int
    optimizer: int
    """Momentum and the like, and slow weights."""
    activations: int
    """What a minibatch's forward pass keeps for the backward pass, at its largest. An estimate: kernels of attention
    may keep less."""

    @property
    def total(self) -> int:
        """All of them: the optimizer's and the gradients' are not freed while activations are held."""
        return self.weights + self.gradients + self.optimizer + self.activations

    @property
    def least(self) -> int:
        """What training takes whatever the kernels: with half of the activations."""
        return self.total - self.activations // 2

    def with_activations(self, activations: int, precision: Precision) -> "MemoryNeeds":
        """The same with activations that take so many bytes in float32, in another precision."""
        size = DTYPES[precision].itemsize
        copies = self.gradients * size // 4 if size < 4 else 0
        return replace(self, weights=self.weights + copies, activations=activations * size // 4)


def state_needs(model: nn.Module, recipe: Recipe) -> MemoryNeeds:
    """What a model takes in float32 whatever its minibatches: without activations. By an update that is made for it."""
    weights = single_model_weights(model)
    states = list(Update(weights, recipe.optimizer).tensors().values())
    if recipe.lookahead is not None:
        states += SlowWeights(recipe.lookahead, weights, []).tensors().values()
    return MemoryNeeds(
        weights=sum(each.nbytes for each in (*model.parameters(), *model.buffers())),
        gradients=sum(weight.master.nbytes for weight in weights),
        optimizer=sum(tensor.nbytes for tensor in states),
        activations=0,
    )


def standard_activations(
    spec: ModelSpec, input_shape: tuple[int, ...], num_classes: int, batch: int, operations: int
) -> int:
    """Bytes of a minibatch's activations in float32, of one of Longtail's own models.

    `operations` are those of one example's forward pass.
    """
    build = partial(build_standard, spec, input_shape, num_classes)
    simulated = 3 * 6 * operations > _OPERATIONS  # passes of two and of four examples
    return activation_bytes(build, input_shape, batch, simulated=simulated)
