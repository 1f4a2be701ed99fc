"""Trained runs for tests of probes: a plain training, whose weights are kept after every epoch."""

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from tests.conftest import small_campaign
from workers.campaign.keys import Run
from workers.campaign.model_spec import CustomModel
from workers.common.arrays import AnyArray, Integers
from workers.datasets import Dataset
from workers.models.layers import model_layers
from workers.subsets.draw import draw_subset, given_labels
from workers.training.device_data import load_on_device
from workers.training.probes.base import ProbeShape, State, Subject

CLASSES = 4
CUSTOM = CustomModel(name="m:f")


def image_data(num_train: int, num_test: int, shape: tuple[int, ...]) -> Dataset:
    """Images of a pattern for each class, and noise."""
    random = np.random.default_rng(3)
    patterns = random.integers(0, 200, (CLASSES, *shape))

    def drawn(count: int) -> tuple[AnyArray, Integers]:
        labels = random.integers(0, CLASSES, count)
        return (patterns[labels] + random.integers(0, 56, (count, *shape))).astype(np.uint8), labels

    return Dataset(*drawn(num_train), *drawn(num_test), class_names=tuple(map(str, range(CLASSES))))


def convolutional() -> nn.Module:
    """Three layers with batch norms, some of which change their input in place, dropout, and a head."""
    torch.manual_seed(1)
    second = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        second,
        nn.Dropout(0.2),
        nn.Flatten(),
        nn.Linear(36, 12),
        nn.BatchNorm1d(12),
        nn.ReLU(),
        nn.Linear(12, CLASSES),
    )


class Wrapped(nn.Module):
    """A model that is no `nn.Sequential`."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.inner(x)


def perceptron() -> nn.Module:
    """One hidden layer, no norms."""
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 10), nn.ReLU(), nn.Linear(10, CLASSES))


def trained_subject(
    build: Callable[[], nn.Module], *, epochs: int = 3, counts: tuple[int, int] = (120, 40), **parts: object
) -> Subject:
    """A run of 70% of 6 x 6 images, a fifth of them noisy, trained in minibatches of about 20."""
    recipe = {"epochs": epochs, "batch_size": 20}
    campaign = small_campaign(**{"recipe": recipe, "label_noise": {"fraction": 0.2}, **parts})
    run, dataset = Run(700_000, 0), image_data(*counts, (1, 6, 6))
    labels = given_labels(campaign, np.array(dataset.train_labels), CLASSES)
    data = load_on_device(dataset, campaign, labels, torch.device("cpu"))
    subset = draw_subset(campaign, run, counts[0])
    torch.manual_seed(0)
    model = build().train()
    states = {0: _copied(model)}
    for epoch in range(1, epochs + 1):
        for part in np.array_split(subset.nonzero()[0], len(subset.nonzero()[0]) // 20):
            index = torch.from_numpy(part)
            loss = F.cross_entropy(model(data.scaled(data.train_images.select(index))), data.train_labels[index])
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            with torch.no_grad():  # not by torch.optim, which imports the compiler
                for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                    parameter.sub_(gradient, alpha=0.3)
        states[epoch] = _copied(model)
    layers = model_layers(model, CUSTOM)
    names = [name for name, _ in model.named_parameters()]
    return Subject(
        run=run,
        shape=ProbeShape(campaign, layers, names, *counts),
        data=data,
        subset=subset,
        split=labels != np.asarray(dataset.train_labels),
        build=lambda: copy.deepcopy(model).eval(),
        states=states,
    )


def right_by_group(subject: Subject, model: nn.Module) -> list[int]:
    """Right predictions of clean, noisy, held-out and test examples."""
    data, model = subject.data, copy.deepcopy(model).eval()
    with torch.no_grad():
        train, test = (
            (model(data.scaled(images.select(torch.arange(len(labels))))).argmax(dim=1) == labels).tolist()
            for images, labels in ((data.train_images, data.train_labels), (data.test_images, data.test_labels))
        )
    right = [0, 0, 0, sum(test)]
    for seen, noisy, correct in zip(subject.subset, subject.split, train, strict=True):
        right[int(noisy) if seen else 2] += correct
    return right


def _copied(model: nn.Module) -> State:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}
