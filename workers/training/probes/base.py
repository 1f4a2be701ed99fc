"""The `Probe` protocol, the trained run that a probe receives, and the groups that it compares."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run
from workers.campaign.probes import group_names
from workers.common.arrays import Bools
from workers.models.layers import Layer
from workers.store.probe_columns import ProbeColumn
from workers.subsets.draw import Purpose, generator
from workers.training.device_data import DeviceData

State = Mapping[str, torch.Tensor]
"""A model's parameters and buffers by name, float32 [..] on the training device."""


@dataclass(frozen=True)
class ProbeShape:
    """What the columns of a probe depend on: known before anything is trained."""

    campaign: Campaign
    layers: Sequence[Layer]
    tensors: Sequence[str]
    """Names of the trained parameters, in the order of `named_parameters`."""
    num_train: int
    num_test: int

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups of examples: of the run's subset those outside and inside the split (`clean` and `noisy`,
        or `typical` and `atypical`), the training examples outside the subset, and the test examples."""
        return (*group_names(self.campaign.split), "heldout", "test")


@dataclass(frozen=True)
class Subject:
    """A trained run, as a probe sees it. A probe changes nothing of it that training or another probe could see."""

    run: Run
    shape: ProbeShape
    data: DeviceData
    subset: Bools
    """bool[N]: the examples that the run was trained on."""
    split: Bools
    """bool[N]: the examples with a noisy label, or the atypical ones."""
    build: Callable[[], nn.Module]
    """A new float32 model on the device with the weights at the end of training, in evaluation mode."""
    states: Mapping[int, State]
    """Parameters and buffers at the start (0), at the end of training, and at the epochs kept between."""

    def generator(self, *key: int) -> np.random.Generator:
        """A NumPy generator of the run's own stream of probes; `key` tells apart its uses (probe, example)."""
        return generator(self.shape.campaign, Purpose.PROBE, self.run, *key)


class Probe(Protocol):
    """A measurement of trained runs. One object serves all runs of a worker, one after the other."""

    @property
    def kept_epochs(self) -> Sequence[int]:
        """Epochs whose weights `Subject.states` must have, beside 0 and the last."""

    def columns(self, shape: ProbeShape) -> Sequence[ProbeColumn]:
        """The columns that it fills. Raises CampaignError where it cannot measure such runs."""

    def units(self, shape: ProbeShape) -> int:
        """Parts in which it measures a run. A checkpoint may be written after each."""

    def measure(self, unit: int, subject: Subject, values: Mapping[str, npt.NDArray[Any]]) -> None:
        """Fill `values`, which have each column's shape and dtype and are missing at first, with one part's results.

        A part depends on the subject alone, and on what the parts before it left in `values`.
        """
