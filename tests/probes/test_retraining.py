"""Layer retraining against a loop written by hand, and that all other layers stay as they are."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.probes.subjects import convolutional, perceptron, right_by_group, trained_subject
from workers.campaign.probes import RetrainingProbe
from workers.training.probes.base import Subject
from workers.training.probes.retraining import LayerRetraining, minibatches, rewind_and_freeze


def retrained(subject: Subject, epochs: int) -> Any:
    """The column's values, by a probe that measures the layers in the opposite order."""
    probe = LayerRetraining(RetrainingProbe(epochs=epochs, learning_rate=0.3))
    (column,) = probe.columns(subject.shape)
    values = {column.name: column.missing()}
    for unit in reversed(range(probe.units(subject.shape))):
        probe.measure(unit, subject, values)
    return values[column.name]


def by_hand(subject: Subject, layer: int, epochs: int) -> list[list[int]]:
    """SGD with momentum and weight decay over one layer, at rates from 0 to 0.3 to 0."""
    model, data = subject.build().to(memory_format=torch.channels_last), subject.data  # the order of dropout's draws
    names = subject.shape.layers[layer].tensors
    model.load_state_dict({**model.state_dict(), **{name: subject.states[0][name] for name in names}})
    weights = [parameter for name, parameter in model.named_parameters() if name in names]
    velocity = [torch.zeros_like(weight) for weight in weights]
    random = subject.generator(0, layer)
    torch.manual_seed(int(random.integers(2**63)))
    clean = np.flatnonzero(subject.subset & ~subject.split)
    steps = epochs * -(-len(clean) // 20)
    right, step = [right_by_group(subject, model)], 0
    for _ in range(epochs):
        model.train()
        order = torch.from_numpy(random.permutation(clean))
        for index in order.split(20):
            images = data.scaled(data.train_images.select(index)).contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(model(images), data.train_labels[index])
            rate = 0.3 * (1 - abs(2 * step / steps - 1))
            with torch.no_grad():
                for weight, v, gradient in zip(weights, velocity, torch.autograd.grad(loss, weights), strict=True):
                    v.mul_(0.9).add_(gradient + 5e-4 * weight)
                    weight.sub_(rate * v)
            step += 1
        right.append(right_by_group(subject, model))
    return right


@pytest.mark.slow
@pytest.mark.parametrize("build", [perceptron, convolutional], ids=["perceptron", "convolutional"])
def test_counts_are_those_of_a_loop_by_hand(build: Any) -> None:
    """Each layer by itself: its weights at the start, the others' at the end, and what is right after each epoch."""
    subject = trained_subject(build)
    drawn = torch.get_rng_state()
    values = retrained(subject, epochs=4)
    assert torch.equal(torch.get_rng_state(), drawn)
    expected = [by_hand(subject, layer, 4) for layer in range(len(subject.shape.layers))]
    np.testing.assert_array_equal(values, expected)
    assert len({tuple(each) for each in values.reshape(-1, 4)}) > 4
    np.testing.assert_array_equal(retrained(subject, epochs=4), values)


def test_the_rest_of_the_model_is_frozen() -> None:
    """Not a bit of another layer's weights changes; running statistics of all layers do, and the subject does not."""
    subject = trained_subject(convolutional)
    before, models = copy.deepcopy(dict(subject.states)), []

    def build() -> nn.Module:
        models.append(copy.deepcopy(trained))
        return models[-1]

    trained = subject.build()
    object.__setattr__(subject, "build", build)
    retrained(subject, epochs=2)
    assert len(models) == len(subject.shape.layers) == 4
    parameters = dict(trained.named_parameters())
    for layer, model in zip(reversed(subject.shape.layers), models, strict=True):
        for name, tensor in model.state_dict().items():
            same = torch.equal(tensor, trained.state_dict()[name])
            assert same == (name in parameters and name not in layer.tensors), (layer.name, name)
    assert all(
        torch.equal(before[epoch][name], state[name]) for epoch, state in subject.states.items() for name in state
    )


def test_what_the_model_itself_froze_stays_frozen() -> None:
    subject = trained_subject(perceptron, epochs=1)
    model = subject.build()
    model[1].bias.requires_grad_(False)  # type: ignore[index]
    (weight,) = rewind_and_freeze(model, subject.shape.layers[0], subject)
    assert weight.working is model[1].weight  # type: ignore[index]
    assert [name for name, parameter in model.named_parameters() if parameter.requires_grad] == ["1.weight"]


@pytest.mark.parametrize(
    ("count", "size", "sizes"), [(7, 3, [3, 3]), (8, 3, [3, 3, 2]), (2, 1, [1, 1]), (1, 3, []), (0, 3, [])]
)
def test_a_last_minibatch_of_one_example_is_left_out(count: int, size: int, sizes: list[int]) -> None:
    assert [len(part) for part in minibatches(np.arange(count), size)] == sizes


def test_a_run_without_clean_examples_is_measured() -> None:
    """Nothing is trained."""
    subject = trained_subject(perceptron, epochs=1)
    object.__setattr__(subject, "split", np.ones_like(subject.split))
    values = retrained(subject, epochs=2)
    assert (values == values[:, :1]).all()
