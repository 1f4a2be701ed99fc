"""Units to flip a prediction against searches that try every unit, and edits of weights by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.probes.subjects import CLASSES, convolutional, perceptron, right_by_group, trained_subject
from workers.campaign.probes import NeuronsProbe
from workers.errors import CampaignError
from workers.training.probes.base import Subject
from workers.training.probes.neurons import NeuronsToFlip, _Search, others_less_label
from workers.training.probes.unit_masks import UnitMasks

ALL = 1000
"""More than there are."""


def searched(subject: Subject, **options: Any) -> dict[str, Any]:
    """The columns' values by name, without `probe_neurons_`; the parts are measured in the opposite order."""
    probe = NeuronsToFlip(NeuronsProbe(**options))
    values = {column.name: column.missing() for column in probe.columns(subject.shape)}
    for unit in reversed(range(probe.units(subject.shape))):
        probe.measure(unit, subject, values)
    return {name.removeprefix("probe_neurons_"): value for name, value in values.items()}


def wide() -> nn.Module:
    """A perceptron in which predictions rest on several units."""
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 24), nn.ReLU(), nn.Linear(24, CLASSES))


def losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    label = logits.gather(1, labels[:, None])[:, 0]
    return (logits.sum(dim=1) - label) / (logits.shape[1] - 1) - label


@pytest.mark.slow
def test_units_of_a_perceptron_are_those_that_a_search_over_all_units_takes() -> None:
    """With one hidden layer and the whole subset as minibatch the gains are exact."""
    subject = trained_subject(wide, epochs=6)
    found = searched(subject, examples=70, most=4, copies=1, noise=0, batch_size=ALL, evaluated=1)
    assert set(found["units"]) == {-2, 0, 1, 2, 3}
    model: Any = subject.build()
    labels, members = subject.data.train_labels, torch.from_numpy(subject.subset)
    with torch.no_grad():
        hidden = model[:3](subject.data.scaled(subject.data.train_images.select(torch.arange(120))))
    (weight, bias), units = model[3].parameters(), torch.arange(24)

    def logits(taken: list[int]) -> torch.Tensor:
        return (hidden * ~torch.isin(units, torch.tensor(taken))) @ weight.detach().T + bias.detach()

    for row, example in enumerate(found["example"].tolist()):
        taken: list[int] = []
        while len(taken) < 4 and logits(taken)[example].argmax() == labels[example]:
            gains = {}
            for unit in set(range(24)) - set(taken):
                loss = losses(logits([*taken, unit]), labels)
                gains[unit] = float(loss[example] - loss[members].mean())
            taken.append(max(gains, key=lambda unit: gains[unit]))
        flipped = logits(taken)[example].argmax() != labels[example]
        assert found["units"][row] == (len(taken) if flipped else -2)
        assert found["unit"][row].tolist() == taken + [-1] * (4 - len(taken))
        assert found["layer"][row].tolist() == [0] * len(taken) + [-1] * (4 - len(taken))


def edited(subject: Subject, layers: Any, units: Any) -> nn.Module:
    """The convolutional model with channels of its norms' outputs at 0, by the norms' own weights."""
    model: Any = subject.build()
    norms = [model[1], model[4][1], model[8]]
    for layer, unit in zip(layers, units, strict=True):
        if layer >= 0:
            with torch.no_grad():
                norms[layer].weight[unit] = norms[layer].bias[unit] = 0
    return model


def test_edited_models_are_those_whose_norms_are_set_to_zero() -> None:
    """What is right afterwards, on all examples; the prediction flips with the last unit, not before."""
    subject = trained_subject(convolutional)
    found = searched(subject, examples=14, most=6, copies=2, noise=0, batch_size=30, evaluated=ALL)
    assert len(set(found["layer"].ravel().tolist()) - {-1}) > 1
    assert found["before"].tolist() == right_by_group(subject, subject.build())
    assert found["evaluated"].tolist() == [*np.bincount(np.where(subject.subset, subject.split, 2)), 40]
    for row, example in enumerate(found["example"].tolist()):
        layers, units, count = found["layer"][row], found["unit"][row], found["units"][row]
        assert found["right"][row].tolist() == right_by_group(subject, edited(subject, layers, units))
        inputs = subject.data.scaled(subject.data.train_images.select(torch.tensor([example])))
        for used in range(6 if count == -2 else count + 1):
            with torch.no_grad():
                predicted = edited(subject, layers[:used], units[:used])(inputs).argmax()
            assert (predicted == subject.data.train_labels[example]) == (used != count)


def test_first_order_gains_are_sums_of_activation_times_derivative() -> None:
    """Over positions and examples, also of a layer behind a unit that is at 0 already."""
    subject = trained_subject(convolutional)
    model: Any = subject.build()
    images = subject.data.scaled(subject.data.train_images.select(torch.arange(9)))
    labels = subject.data.train_labels[:9]
    masks = UnitMasks(model, subject.shape.layers[:-1], images[:1])
    masks.take((0, 2))
    found = masks._gains(others_less_label(model(images), labels))
    reference: Any = edited(subject, [0], [2])
    activations: list[torch.Tensor] = []

    def keep(module: nn.Module, given: Any, output: torch.Tensor) -> torch.Tensor:
        output.retain_grad()
        activations.append(output)
        return output.clone()  # what follows works in place

    for norm in (reference[1], reference[4][1], reference[8]):
        norm.register_forward_hook(keep)
    losses(reference(images), labels).mean().backward()
    for layer, activation in enumerate(activations):
        assert activation.grad is not None
        expected = -(activation * activation.grad).transpose(0, 1).flatten(1).sum(dim=1).detach().numpy()
        mask = np.ones(len(expected))
        mask[2] = layer > 0
        np.testing.assert_allclose(found[layer] * mask, expected * mask, rtol=1e-4, atol=1e-6)


def test_a_search_without_a_way_out_is_censored() -> None:
    """A head that always says class 1: every unit is taken, or as many as are allowed."""

    def biased() -> nn.Module:
        model: Any = perceptron()
        model[3].bias.data[1] = 100
        return model

    subject = trained_subject(biased, epochs=1)
    labels = subject.data.train_labels
    for most, expected in ((50, 10), (3, 3)):
        found = searched(subject, examples=20, most=most, batch_size=16, evaluated=5)
        always = labels[torch.from_numpy(found["example"]).long()].numpy() == 1
        assert 0 < always.sum() < 20
        assert (found["units"] == np.where(always, -2, 0)).all()
        assert ((found["unit"] >= 0).sum(axis=1) == np.where(always, expected, 0)).all()
        assert all(len(set(each[:expected].tolist())) == expected for each in found["unit"][always])
        assert found["evaluated"].tolist() == [5, 5, 5, 5]


@pytest.mark.parametrize(("examples", "noisy", "clean"), [(10, 5, 5), (60, 18, 42), (100, 18, 66)])
def test_half_of_the_examples_are_noisy_as_far_as_there_are_any(examples: int, noisy: int, clean: int) -> None:
    subject = trained_subject(perceptron, epochs=1)
    assert (subject.subset & subject.split).sum() == 18
    found = searched(subject, examples=examples, most=1, batch_size=4, evaluated=1)
    drawn = found["example"][found["example"] >= 0]
    assert len(set(drawn.tolist())) == len(drawn) == noisy + clean
    assert subject.split[drawn].sum() == noisy
    assert subject.subset[drawn].all()
    for name in ("units", "layer", "unit", "right"):
        assert (found[name][noisy + clean :] == -1).all()
    assert (found["units"][: noisy + clean] != -1).all()


def test_copies_are_as_far_from_the_input_as_the_noise_says() -> None:
    subject = trained_subject(convolutional, epochs=1)
    search = _Search(subject, NeuronsProbe(copies=3, noise=0.25))
    inputs = search._inputs(np.array([7]))
    noise = (search._copies(np.array([7]), np.random.default_rng(0)) - inputs).flatten(1)
    torch.testing.assert_close(noise.norm(dim=1), 0.25 * inputs.norm().expand(3))
    assert len(noise.unique(dim=0)) == 3


def test_searches_are_repeatable_and_leave_no_trace() -> None:
    subject = trained_subject(convolutional)
    drawn = torch.get_rng_state()
    first, second = (searched(subject, examples=11, most=4, batch_size=16, evaluated=9) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert all(torch.equal(each, subject.states[3][name]) for name, each in subject.build().state_dict().items())


def test_a_model_without_a_hidden_layer_is_refused() -> None:
    shape = trained_subject(lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, CLASSES)), epochs=1).shape
    with pytest.raises(CampaignError, match=r"^record\.probes\.neurons: needs a layer before the head"):
        NeuronsToFlip(NeuronsProbe()).columns(shape)


def test_more_values_than_a_row_may_have_are_refused() -> None:
    shape = trained_subject(perceptron, epochs=1).shape
    with pytest.raises(CampaignError, match=r"^record\.probes\.neurons \(examples, most\): .* at most 16,777,216"):
        NeuronsToFlip(NeuronsProbe(examples=100_000, most=10_000)).columns(shape)
