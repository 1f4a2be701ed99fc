"""The probes of a stack's runs: weights kept during training, and the measurements that follow it, one at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run
from workers.common.arrays import Bools
from workers.store import EpochRecord
from workers.training.device_data import DeviceData
from workers.training.model_init import initial_model, trained_model
from workers.training.probes.base import Probe, ProbeShape, State, Subject
from workers.training.probes.gradients import COLUMN as GRADIENTS
from workers.training.probes.registry import campaign_probes, probe_shape

ProbeValues = Mapping[str, npt.NDArray[Any]]
"""A run's values by column."""

KEPT = "probe.kept."
"""Prefix of the names under which weights kept for probes are in a trainer's state."""


class ProbedTrainer(Protocol):
    """The part of a trainer that probes use."""

    @property
    def subsets(self) -> Sequence[Bools]:
        """K subsets, bool[N]."""

    def weights_of(self, k: int) -> State:
        """The parameters (float32) and buffers of model k by the model's own names: views, not copies."""


@dataclass(frozen=True)
class _Unit:
    k: int
    probe: Probe
    number: int


class StackProbes:
    """Measures those of a stack's runs whose repetition is under `record.probes.repetitions`; without probes none."""

    def __init__(self, campaign: Campaign, data: DeviceData, runs: Sequence[Run], trainer: ProbedTrainer) -> None:
        requested = campaign.record.probes
        self._campaign = campaign
        self._data = data
        self._runs = runs
        self._trainer = trainer
        self._probed = [k for k, run in enumerate(runs) if requested and run.repetition < requested.repetitions]
        self._probes = campaign_probes(campaign) if requested else []
        self._shape = probe_shape(campaign, data.input_shape, data.num_classes, _counts(data)) if requested else None
        self.columns = [column for probe in self._probes for column in probe.columns(self.shape)]
        self._units = [
            _Unit(k, probe, number)
            for k in self._probed
            for probe in self._probes
            for number in range(probe.units(self.shape))
        ]
        epochs = {epoch for probe in self._probes for epoch in probe.kept_epochs if epoch < campaign.recipe.epochs}
        self._kept = {
            epoch: {k: _zeros_like(trainer.weights_of(k)) for k in self._probed} for epoch in sorted(epochs - {0})
        }

    @property
    def shape(self) -> ProbeShape:
        """What the probes' columns depend on. Only campaigns with probes have one."""
        if self._shape is None:
            raise ValueError("the campaign has no probes")
        return self._shape

    @property
    def num_units(self) -> int:
        """Measurements that follow the last epoch."""
        return len(self._units)

    def no_values(self) -> list[dict[str, npt.NDArray[Any]]]:
        """Of each run the columns before anything is measured; empty for a run that is not to be measured."""
        return [
            {column.name: column.missing() for column in self.columns} if k in self._probed else {}
            for k in range(len(self._runs))
        ]

    def tensors(self) -> dict[str, torch.Tensor]:
        """What is kept, by name: part of the state that a checkpoint has. Zeros until the epoch is reached."""
        return {
            f"{KEPT}{epoch}.{k}.{name}": tensor
            for epoch, runs in self._kept.items()
            for k, state in runs.items()
            for name, tensor in state.items()
        }

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take what is kept from a trainer's state. Raises ValueError where a tensor is missing, or of another form."""
        for name, tensor in self.tensors().items():
            theirs = tensors.get(name)
            if theirs is None or (theirs.shape, theirs.dtype) != (tensor.shape, tensor.dtype):
                raise ValueError(f"holds other weights for probes: {name}")
            tensor.copy_(theirs)

    def fit(self, values: Sequence[ProbeValues]) -> bool:
        """Whether values of K runs have the columns and shapes that they should have."""
        return list(map(_form, values)) == list(map(_form, self.no_values()))

    def with_values(self, records: Sequence[EpochRecord], values: ProbeValues) -> list[EpochRecord]:
        """A run's records with the columns of probes: measured in the last one, missing in the others."""
        missing = {column.name: column.missing() for column in self.columns}
        last = {**missing, **values}
        return [replace(record, probes=last if record is records[-1] else missing) for record in records]

    def on_epoch_end(
        self, epoch: int, gradients: npt.NDArray[np.float32] | None, values: Sequence[ProbeValues]
    ) -> None:
        """Keep the weights where a probe needs them, and the sums of gradients float32[K, tensors, 3]."""
        for k, state in self._kept.get(epoch, {}).items():
            current = self._trainer.weights_of(k)
            with torch.no_grad():
                for name, tensor in state.items():
                    tensor.copy_(current[name])
        if gradients is not None:
            for k in self._probed:
                values[k][GRADIENTS][epoch - 1] = gradients[k]

    def measure(self, number: int, diverged: Sequence[bool], values: Sequence[ProbeValues]) -> None:
        """Carry out measurement `number`. Nothing is measured of a run that diverged."""
        unit = self._units[number]
        if diverged[unit.k]:
            return
        devices = [self._data.device] if self._data.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            unit.probe.measure(unit.number, self._subject(unit.k), values[unit.k])

    def _subject(self, k: int) -> Subject:
        run, last = self._runs[k], self._campaign.recipe.epochs
        model = initial_model(self._campaign, self._data, run).to(self._data.device)
        start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        # Parts of a model that are not trained are in no trainer: they are as at the start.
        end = {**start, **{name: tensor.clone() for name, tensor in self._trainer.weights_of(k).items()}}
        kept_states = {epoch: {**start, **runs[k]} for epoch, runs in self._kept.items()}
        return Subject(
            run=run,
            shape=self.shape,
            data=self._data,
            subset=self._trainer.subsets[k],
            split=self._data.split.cpu().numpy(),
            build=partial(trained_model, self._campaign, self._data, run, end),
            states={0: start, **kept_states, last: end},
        )


def _zeros_like(state: State) -> dict[str, torch.Tensor]:
    return {name: torch.zeros_like(tensor) for name, tensor in state.items()}


def _form(values: ProbeValues) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    return {name: (value.shape, value.dtype) for name, value in values.items()}


def without_kept(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A trainer's state without what is kept for probes."""
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(KEPT)}


def _counts(data: DeviceData) -> tuple[int, int]:
    return len(data.train_labels), len(data.test_labels)
