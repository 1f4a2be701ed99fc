"""Layer retraining (Maini et al. 2023, section 4.3): one layer trained anew on the clean examples alone."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F

from workers.campaign.lr_schedule import rate_factor
from workers.campaign.probes import RetrainingProbe
from workers.campaign.recipe import SGD, Recipe, TriangularSchedule
from workers.common.arrays import Integers
from workers.models.layers import Layer
from workers.models.stacking import Weight
from workers.models.stage_dropout import example_tied, show_examples
from workers.store.probe_columns import ProbeColumn, axis
from workers.training.optimizers import Update
from workers.training.probes.base import ProbeShape, Subject
from workers.training.probes.columns import layer_axis, probe_column
from workers.training.probes.groups import count_right_of, group_members, laid_out, trained_model
from workers.training.probes.streams import ProbeStream

MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4
"""The published ones."""

_RIGHT = "probe_retraining"


class LayerRetraining:
    """Column `probe_retraining`, int32 [layer, epoch, group]: right predictions before the first epoch and after each.

    The layer starts as the run's model did, running statistics included; all other weights stay those of the end of
    training. It is trained on the clean examples of the run's subset alone, in a new order in each epoch, without
    augmentation, with the recipe's batch size and label smoothing: by SGD whose rate rises in each step, in a line from
    0 to the peak after half of the epochs, and falls to 0. A last minibatch of one example is left out. Meanwhile the
    whole model is in training mode: dropout is on, and the batch norms of all layers use the minibatch's statistics and
    update their running ones, which the evaluations use.
    """

    def __init__(self, config: RetrainingProbe) -> None:
        self.config = config

    @property
    def kept_epochs(self) -> Sequence[int]:
        """See `Probe.kept_epochs`: none."""
        return ()

    def columns(self, shape: ProbeShape) -> Sequence[ProbeColumn]:
        """See `Probe.columns`."""
        axes = (layer_axis(shape), axis("epoch", self.config.epochs + 1), axis("group", shape.groups))
        return [probe_column(_RIGHT, "int32", axes, field="record.probes.retraining.epochs")]

    def units(self, shape: ProbeShape) -> int:
        """See `Probe.units`: one for each layer."""
        return len(shape.layers)

    def measure(self, unit: int, subject: Subject, values: Mapping[str, npt.NDArray[Any]]) -> None:
        """See `Probe.measure`."""
        model, layer = trained_model(subject), subject.shape.layers[unit]
        weights = rewind_and_freeze(model, layer, subject)
        right = values[_RIGHT][unit]
        right[0] = count_right_of(subject, model)
        random = subject.generator(ProbeStream.RETRAINING, unit)
        devices = [subject.data.device] if subject.data.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(int(random.integers(2**63)))  # dropout draws from torch's own generator
            for epoch, _ in enumerate(self._epochs(model, weights, subject, random), start=1):
                right[epoch] = count_right_of(subject, model.eval())

    def _epochs(
        self, model: nn.Module, weights: Sequence[Weight], subject: Subject, random: np.random.Generator
    ) -> Iterator[None]:
        """Train; hands over after each epoch."""
        recipe = self._recipe(subject.shape.campaign.recipe)
        update = Update(weights, SGD(learning_rate=1, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY))
        clean, data = group_members(subject)[0], subject.data
        tied = example_tied(model)
        step, steps = 0, len(minibatches(clean, recipe.batch_size))
        for _ in range(recipe.epochs):
            model.train()
            for part in minibatches(random.permutation(clean), recipe.batch_size):
                index = torch.from_numpy(part).to(data.device)
                show_examples(tied, index)
                logits = model(laid_out(data.scaled(data.train_images.select(index)))).float()
                labels = data.train_labels[index]
                loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
                update.set_rate_factor(self.config.learning_rate * rate_factor(recipe, step, steps))
                update.apply(update.gradients(loss))
                step += 1
            yield

    def _recipe(self, recipe: Recipe) -> Recipe:
        schedule = TriangularSchedule(name="triangular", peak_epoch=self.config.epochs / 2)
        return recipe.model_copy(update={"epochs": self.config.epochs, "schedule": schedule})


def rewind_and_freeze(model: nn.Module, layer: Layer, subject: Subject) -> list[Weight]:
    """Set a layer to the start of training; nothing else of the model can be trained then. Returns what can."""
    own = model.state_dict()
    with torch.no_grad():
        for name in layer.tensors:
            own[name].copy_(subject.states[0][name])
    weights = []
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and name in layer.tensors)
        if parameter.requires_grad:
            weights.append(Weight(parameter.detach(), parameter, stacked=False))
    return weights


def minibatches(examples: Integers, size: int) -> list[Integers]:
    """Of int64[n], in their order; the last may be smaller. One of a single example is left out: it has no variance."""
    parts = [examples[start : start + size] for start in range(0, len(examples), size)]
    return [part for part in parts if len(part) > 1 or size == 1]
