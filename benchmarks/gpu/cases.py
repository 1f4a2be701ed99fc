"""The trainings whose bits are compared: every model, both engines, both precisions, on images made here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run, Shard
from workers.campaign.yaml_io import check_campaign
from workers.datasets import Dataset
from workers.store.stack_program import GROUPED, StackProgram
from workers.training import Engine, Precision, SequentialEngine, StackedEngine
from workers.training.device_data import DeviceData, load_on_device

EXAMPLES, TESTS, CLASSES = 256, 96, 10
SHAPE = (3, 32, 32)
EPOCHS, BATCH, STACKS = 3, 40, 2
STEPS = 4
"""Minibatches of an epoch: 128 examples of a subset, the last 8 in a smaller one."""

MODELS: Mapping[str, Mapping[str, Any]] = {
    "mlp": {"name": "mlp", "hidden": [128, 64]},
    "small-cnn": {"name": "small-cnn"},
    "mnist-cnn": {"name": "mnist-cnn", "dropout": 0.5},
    "resnet9": {"name": "resnet9", "width": 16},
    "airbench": {"name": "airbench"},
    "resnet18": {"name": "resnet18"},
    "resnet50": {"name": "resnet50"},
    "vit": {"name": "vit", "dropout": 0.1, "layers": 2},
    "vit-small-data": {"name": "vit-small-data", "patch_size": 4, "layers": 2, "width": 64, "heads": 4, "hidden": 64},
}
_STACKS = {"resnet50": 1, "vit": 0, "vit-small-data": 0}
_PROBES = {"repetitions": 1, "gradients": True, "rewinding": {"every": 2}}
_ADAMW = {"name": "adamw", "learning_rate": 0.001}
_SGD = {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True}


@dataclass(frozen=True)
class Case:
    """One training. Presentations and probabilities are recorded where it is `augmented`, margins always."""

    model: str
    stack: int
    """Models as one program; 0: the sequential engine."""
    precision: Precision
    augmented: bool
    probed: bool = False
    program: StackProgram = GROUPED

    @property
    def name(self) -> str:
        """Says all of it."""
        engine = f"stacks of {self.stack}" if self.stack else "one by one"
        engine += "" if self.program == GROUPED else f" ({self.program})"
        extras = ("augmented, presentations, probabilities" if self.augmented else "plain", "probes" * self.probed)
        return ", ".join(filter(None, (self.model, engine, self.precision, *extras, "margins")))

    @property
    def shard(self) -> Shard:
        """Two stacks, so that the second is trained by what the first one left."""
        return Shard(500_000, 0, STACKS * max(1, self.stack))

    @property
    def runs(self) -> Sequence[Run]:
        """Those of the shard."""
        return self.shard.runs

    def engine(self) -> Engine:
        """A new one."""
        if not self.stack:
            return SequentialEngine(self.precision)
        return StackedEngine(self.stack, self.precision, program=self.program)

    def campaign(self) -> Campaign:
        """Its data set is a stand-in: the images are those of `made_images`."""
        sgd = self.model not in ("vit", "vit-small-data", "small-cnn")
        augmentation = {"flip": True, "translate": 2, "cutout": 8}
        return check_campaign(
            {
                "dataset": {"name": "digits"},
                "label_noise": {"fraction": 0.1} if self.probed else {},
                "model": dict(MODELS[self.model]),
                "recipe": {
                    "epochs": EPOCHS,
                    "batch_size": BATCH,
                    "optimizer": _SGD if sgd else _ADAMW,
                    "schedule": {"name": "cosine"},
                    "precision": self.precision,
                    "input_scaling": "standardize",
                    "initialization": {"whitening": self.model == "airbench"},
                    "augmentation": augmentation if self.augmented else {},
                },
                "subsets": {"ratios": [0.5], "repetitions": len(self.runs), "seed": 3},
                "record": {
                    "epochs": "all",
                    "margins": True,
                    "presentations": self.augmented,
                    "probabilities": self.augmented,
                    "probes": _PROBES if self.probed else None,
                },
            }
        )


def all_cases() -> list[Case]:
    """Of each model and engine one in each precision; which of them is augmented alternates. Then those with probes."""
    cases = [
        Case(model, stack, precision, augmented=(precision == "bfloat16") == bool(stack))
        for model in MODELS
        for stack in (_STACKS.get(model, 3), 0)
        for precision in ("bfloat16", "float32")
    ]
    probed = [Case("mlp", 2, "bfloat16", augmented=False, probed=True), Case("resnet9", 0, "float32", False, True)]
    programs = [
        Case("airbench", 3, "bfloat16", augmented=False, program=program)
        for program in (StackProgram(kind="streams"), StackProgram(compiled=True))
    ]
    return list(dict.fromkeys(cases)) + probed + programs


def make_case_data(campaign: Campaign, device: torch.device, labels: npt.NDArray[np.int64] | None = None) -> DeviceData:
    """`made_images` on a device, with other labels where they are given."""
    dataset = made_images()
    return load_on_device(dataset, campaign, np.array(dataset.train_labels) if labels is None else labels, device)


@cache
def made_images() -> Dataset:
    """Images uint8[N, 3, 32, 32] of ten classes, each a pattern of its own under noise: learned within epochs."""
    random = np.random.default_rng(0)
    patterns = random.integers(0, 256, (CLASSES, *SHAPE))

    def split(count: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        labels = np.arange(count) % CLASSES
        mixed = 0.75 * patterns[labels] + 0.25 * random.integers(0, 256, (count, *SHAPE))
        return mixed.astype(np.uint8), labels

    names = tuple(f"class {number}" for number in range(CLASSES))
    return Dataset(*split(EXAMPLES), *split(TESTS), class_names=names)
