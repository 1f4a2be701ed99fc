"""Layer rewinding (Maini et al. 2023, section 4.2): accuracy with one layer at its weights of an earlier epoch."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from workers.campaign.probes import RewindingProbe
from workers.common.arrays import Int32s
from workers.models.layers import Layer
from workers.store.probe_columns import ProbeColumn, axis
from workers.training.probes.base import ProbeShape, State, Subject
from workers.training.probes.columns import layer_axis, probe_column
from workers.training.probes.groups import EVALUATION_BATCH, count_right, laid_out, trained_model

RULES = ("parameters", "buffers", "reestimated")
"""What is rewound: parameters alone, while running statistics stay those of the end of training (the published rule);
running statistics, too; or parameters, and then the whole model's statistics are estimated anew, so that they fit the
weights: what differs then is a matter of weights."""

_RIGHT = "probe_rewinding"


class LayerRewinding:
    """Column `probe_rewinding`, int32 [layer, epoch, rule, group]: right predictions, in evaluation mode.

    Epochs are 0, each multiple of `every`, and the last, at which the first two rules give the untouched model's
    counts. `reestimated` takes the mean of statistics over minibatches of the run's subset, in canonical order, without
    augmentation, and with norms alone in training mode; in models without batch statistics it equals `parameters`.
    """

    def __init__(self, config: RewindingProbe, epochs: int) -> None:
        self.epochs = tuple(sorted({*range(0, epochs, config.every), epochs}))

    @property
    def kept_epochs(self) -> Sequence[int]:
        """See `Probe.kept_epochs`."""
        return self.epochs[1:-1]

    def columns(self, shape: ProbeShape) -> Sequence[ProbeColumn]:
        """See `Probe.columns`."""
        axes = (layer_axis(shape), axis("epoch", self.epochs), axis("rule", RULES), axis("group", shape.groups))
        return [probe_column(_RIGHT, "int32", axes, field="record.probes.rewinding.every")]

    def units(self, shape: ProbeShape) -> int:
        """See `Probe.units`: one for each layer."""
        return len(shape.layers)

    def measure(self, unit: int, subject: Subject, values: Mapping[str, npt.NDArray[Any]]) -> None:
        """See `Probe.measure`."""
        variants = _LayerVariants(subject, subject.shape.layers[unit])
        values[_RIGHT][unit] = variants.count_right([subject.states[epoch] for epoch in self.epochs])


class _LayerVariants:
    """A trained model with other values in one layer. What runs before the layer is computed once for all variants."""

    def __init__(self, subject: Subject, layer: Layer) -> None:
        self.subject = subject
        self.model = trained_model(subject)
        self.before, self.rest = split_before(self.model, layer.tensors)
        self.own = self.model.state_dict()
        parameters = {name for name, _ in self.model.named_parameters(remove_duplicate=False)}
        self.parameters = [name for name in layer.tensors if name in parameters]
        self.buffers = [name for name in layer.tensors if name not in parameters and self.own[name].is_floating_point()]
        self.trained_buffers = {name: self.own[name].clone() for name in self.buffers}

    def count_right(self, states: Sequence[State]) -> Int32s:
        """Right predictions with the layer as it is in each of S states: int32[S, rule, group]."""
        weights = [{name: state[name] for name in self.parameters} | self.trained_buffers for state in states]
        if self.buffers:
            whole = [{name: state[name] for name in (*self.parameters, *self.buffers)} for state in states]
            of_weights, of_whole = np.split(self._evaluate([*weights, *whole]), 2)
        else:
            of_weights = of_whole = self._evaluate(weights)
        norms = {name: module for name, module in self.model.named_modules() if has_batch_statistics(module)}
        again = self._evaluate(self._reestimated(weights, norms)) if norms else of_weights
        return np.stack([of_weights, of_whole, again], axis=1)

    def _put(self, values: State) -> None:
        with torch.no_grad():
            for name, value in values.items():
                self.own[name].copy_(value)

    def _evaluate(self, variants: Sequence[State]) -> Int32s:
        """int32[variant, group]. Each variant has a value for whatever another one changes."""

        def predict(images: torch.Tensor) -> torch.Tensor:
            inputs, logits = self.before(laid_out(images)), []
            for variant in variants:
                self._put(variant)
                logits.append(self.rest(inputs.clone()).float())  # a layer may work in place
            return torch.stack(logits)

        return count_right(self.subject, predict, len(variants))

    def _reestimated(self, variants: Sequence[State], norms: Mapping[str, Any]) -> Sequence[State]:
        """The variants with statistics of their own; in front of the layer they are the same, and set in the model."""
        front = set(self.before.modules())
        behind = [name for name, norm in norms.items() if norm not in front]
        statistics = [f"{name}.{kind}" for name in behind for kind in ("running_mean", "running_var")]
        for norm in norms.values():
            norm.reset_running_stats()
            norm.train()
        reestimated = [{**variant, **self._copied(statistics)} for variant in variants]
        for number, inputs in enumerate(self._subset_minibatches(), start=1):
            for norm in norms.values():
                norm.momentum = 1 / number  # what the mean so far and this minibatch weigh, as with momentum None
            with torch.no_grad():
                reached = self.before(inputs)
                for variant in reestimated:
                    self._put(variant)
                    self.rest(reached.clone())
                    variant.update(self._copied(statistics))
        for norm in norms.values():
            norm.eval()
        return reestimated

    def _copied(self, names: Sequence[str]) -> State:
        return {name: self.own[name].clone() for name in names}

    def _subset_minibatches(self) -> Iterator[torch.Tensor]:
        """Inputs of the run's subset, in minibatches of nearly one size: of few examples statistics would be poor."""
        data, members = self.subject.data, self.subject.subset.nonzero()[0]
        for part in np.array_split(members, -(-len(members) // EVALUATION_BATCH)):
            yield laid_out(data.scaled(data.train_images.select(torch.from_numpy(part).to(data.device))))


def has_batch_statistics(module: nn.Module) -> bool:
    """Whether it normalizes by running statistics in evaluation mode."""
    return isinstance(module, _NormBase) and module.running_mean is not None


def split_before(model: nn.Module, tensors: Sequence[str]) -> tuple[nn.Module, nn.Module]:
    """(What runs before the first of these tensors is used, the rest); one after the other they are the model.

    The model is split where it is an `nn.Sequential`; of others nothing runs before.
    """
    if type(model) is not nn.Sequential or model._forward_hooks or model._forward_pre_hooks:
        return nn.Identity(), model
    used = {name.partition(".")[0] for name in tensors}
    first = next(index for index, name in enumerate(model._modules) if name in used)
    return model[:first], model[first:]
