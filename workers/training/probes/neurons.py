"""Units to flip a prediction (Maini et al. 2023, section 5): a greedy search by activations."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from workers.campaign.probes import NeuronsProbe
from workers.common.arrays import Integers
from workers.errors import CampaignError
from workers.store.probe_columns import CENSORED, ProbeColumn, axis
from workers.training.evaluation import correct
from workers.training.probes.base import ProbeShape, Subject
from workers.training.probes.columns import probe_column
from workers.training.probes.groups import count_right_among, group_members, laid_out, trained_model
from workers.training.probes.streams import ProbeStream
from workers.training.probes.unit_masks import Unit, UnitMasks

_PART = 10
"""Examples of one unit of measurement."""

_EXAMPLES, _EVALUATED, _SEARCH = range(3)
"""What is drawn: second keys of the probe's streams."""


class NeuronsToFlip:
    """How many units must be set to 0 until an example is no longer predicted as its given label, and which.

    - `probe_neurons_example`, int32 [example]: the examples, as far as possible half from the split, half clean.
    - `probe_neurons_units`, int16 [example]: the number of units; 0 where the label was not predicted before; -2
      (censored) where `most` units, or all, did not do.
    - `probe_neurons_layer`, int16, and `probe_neurons_unit`, int32 [example, step]: which, in order; -1 behind the end.
    - `probe_neurons_right`, int32 [example, group]: right predictions of the model without these units, on a sample.
    - `probe_neurons_evaluated`, `probe_neurons_before`, int32 [group]: the sample's size, and the right predictions of
      the untouched model on it.

    Units are those of `Layer.output` in all layers but the last. Each step takes the unit with the largest first-order
    gain of L(example) - mean L(minibatch), where L is the mean of the other classes' logits less the label's: minus the
    sum over positions and examples of activation times derivative, with all units taken so far at 0. The minibatch is
    drawn anew from the run's subset in each step. L(example) and the prediction are of the mean logits of noisy copies,
    drawn once for an example: normal noise with an L2 norm of `noise` times that of the example's own scaled input.
    Batch norms are in evaluation mode. The sample, of up to `evaluated` examples of each group, is one for all examples
    of the run, and is evaluated as the recipe says. Everything is drawn from the run's own stream of probes.
    """

    def __init__(self, config: NeuronsProbe) -> None:
        self.config = config

    @property
    def kept_epochs(self) -> Sequence[int]:
        """See `Probe.kept_epochs`: none."""
        return ()

    def columns(self, shape: ProbeShape) -> Sequence[ProbeColumn]:
        """See `Probe.columns`."""
        if len(shape.layers) < 2:
            raise CampaignError(
                f"record.probes.neurons: needs a layer before the head, whose units can be set to 0, and the model "
                f"{shape.campaign.model.name} has none: leave the probe out, or give the model a hidden layer"
            )
        example, group = axis("example", self.config.examples), axis("group", shape.groups)
        step, field = axis("step", self.config.most), "record.probes.neurons (examples, most)"
        return [
            probe_column("probe_neurons_example", "int32", [example], field),
            probe_column("probe_neurons_units", "int16", [example], field),
            probe_column("probe_neurons_layer", "int16", [example, step], field),
            probe_column("probe_neurons_unit", "int32", [example, step], field),
            probe_column("probe_neurons_right", "int32", [example, group], field),
            probe_column("probe_neurons_evaluated", "int32", [group], field),
            probe_column("probe_neurons_before", "int32", [group], field),
        ]

    def units(self, shape: ProbeShape) -> int:
        """See `Probe.units`: one for each ten examples."""
        return -(-self.config.examples // _PART)

    def measure(self, unit: int, subject: Subject, values: Mapping[str, npt.NDArray[Any]]) -> None:
        """See `Probe.measure`."""
        examples, sample = self._drawn_examples(subject), self._drawn_sample(subject)
        if unit == 0:
            values["probe_neurons_evaluated"][:] = [len(members) for members in sample]
            values["probe_neurons_before"][:] = count_right_among(subject, trained_model(subject), sample)
        search, right = _Search(subject, self.config), {}
        for row in range(unit * _PART, min((unit + 1) * _PART, len(examples))):
            taken, flipped = search.run(int(examples[row]))
            values["probe_neurons_example"][row] = examples[row]
            values["probe_neurons_units"][row] = len(taken) if flipped else CENSORED
            for step, (layer, place) in enumerate(taken):
                values["probe_neurons_layer"][row, step] = layer
                values["probe_neurons_unit"][row, step] = place
            if (edit := frozenset(taken)) not in right:  # few units are often the same ones
                right[edit] = count_right_among(subject, search.model, sample)
            values["probe_neurons_right"][row] = right[edit]

    def _drawn_examples(self, subject: Subject) -> Integers:
        """Those of the split first: int64[up to `examples`]."""
        clean, split = group_members(subject)[:2]
        random = subject.generator(ProbeStream.NEURONS, _EXAMPLES)
        from_split = min(self.config.examples // 2, len(split))
        from_clean = min(self.config.examples - from_split, len(clean))
        from_split = min(self.config.examples - from_clean, len(split))
        return np.concatenate([random.permutation(split)[:from_split], random.permutation(clean)[:from_clean]])

    def _drawn_sample(self, subject: Subject) -> list[Integers]:
        """Of each group the examples on which edited models are evaluated, ascending."""
        random = subject.generator(ProbeStream.NEURONS, _EVALUATED)
        return [np.sort(random.permutation(members)[: self.config.evaluated]) for members in group_members(subject)]


class _Search:
    """The greedy search on one run's model, for one example after the other."""

    def __init__(self, subject: Subject, config: NeuronsProbe) -> None:
        self.subject = subject
        self.config = config
        self.model = trained_model(subject)
        self.members = subject.subset.nonzero()[0]
        self.masks = UnitMasks(self.model, subject.shape.layers[:-1], self._inputs(self.members[:1]))

    def run(self, example: int) -> tuple[list[Unit], bool]:
        """The units to set to 0, in their order, and whether the prediction flipped. They stay so in the model."""
        self.masks.give_back()
        random = self.subject.generator(ProbeStream.NEURONS, _SEARCH, example)
        index = np.array([example])
        label, copies = self._labels(index), self._copies(index, random)
        taken: list[Unit] = []
        while self._predicted(copies, label):
            unit = None if len(taken) == self.config.most else self._next(copies, label, random)
            if unit is None:
                return taken, False
            taken.append(unit)
            self.masks.take(unit)
        return taken, True

    def _predicted(self, copies: torch.Tensor, label: torch.Tensor) -> bool:
        with torch.no_grad():
            logits = self.model(copies).float().mean(dim=0, keepdim=True)
        return bool(correct(logits[None], label))

    def _next(self, copies: torch.Tensor, label: torch.Tensor, random: np.random.Generator) -> Unit | None:
        size = min(self.config.batch_size, len(self.members))
        batch = np.sort(random.choice(self.members, size, replace=False))
        logits = self.model(laid_out(torch.cat([copies, self._inputs(batch)]))).float()
        ours, theirs = logits.split([len(copies), size])
        example = others_less_label(ours, label.expand(len(copies)))
        return self.masks.largest_gain(example - others_less_label(theirs, self._labels(batch)))

    def _inputs(self, index: Integers) -> torch.Tensor:
        data = self.subject.data
        return laid_out(data.scaled(data.train_images.select(torch.from_numpy(index).to(data.device))))

    def _labels(self, index: Integers) -> torch.Tensor:
        data = self.subject.data
        return data.train_labels[torch.from_numpy(index).to(data.device)]

    def _copies(self, index: Integers, random: np.random.Generator) -> torch.Tensor:
        """Noisy copies [copies, ...] of one example's input."""
        inputs = self._inputs(index)
        noise = random.standard_normal((self.config.copies, inputs[0].numel()))
        noise *= self.config.noise / np.linalg.norm(noise, axis=1, keepdims=True)
        scaled = torch.from_numpy(noise).to(inputs) * torch.linalg.vector_norm(inputs)
        return laid_out(inputs + scaled.view(-1, *inputs.shape[1:]))


def others_less_label(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The mean of the other classes' logits less the label's, averaged: float[B, C] and int64[B] to float[]."""
    classes = torch.arange(logits.shape[1], device=logits.device)
    weights = torch.where(labels[:, None] == classes, -1.0, 1 / max(1, logits.shape[1] - 1))
    return (logits * weights).sum(dim=1).mean()  # by products: a gather's gradient is not deterministic on GPUs
