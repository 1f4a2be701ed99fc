"""Layer rewinding against models whose state is loaded by hand, and statistics against a slow pass."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.probes.subjects import Wrapped, convolutional, perceptron, right_by_group, trained_subject
from workers.campaign.probes import RewindingProbe
from workers.errors import CampaignError
from workers.training.probes import groups, rewinding
from workers.training.probes.base import Subject
from workers.training.probes.rewinding import RULES, LayerRewinding

MODELS: dict[str, Callable[[], nn.Module]] = {
    "sequential": convolutional,
    "wrapped": lambda: Wrapped(convolutional()),
    "perceptron": perceptron,
}


@pytest.fixture(autouse=True)
def small_minibatches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several in each pass."""
    monkeypatch.setattr(groups, "EVALUATION_BATCH", 32)
    monkeypatch.setattr(rewinding, "EVALUATION_BATCH", 32)


def rewound(subject: Subject, every: int) -> Any:
    """The column's values, by a probe that measures the layers in the opposite order."""
    probe = LayerRewinding(RewindingProbe(every=every), subject.shape.campaign.recipe.epochs)
    (column,) = probe.columns(subject.shape)
    values = {column.name: column.missing()}
    for unit in reversed(range(probe.units(subject.shape))):
        probe.measure(unit, subject, values)
    return values[column.name]


def by_hand(subject: Subject, layer: int, epoch: int, rule: str) -> nn.Module:
    """The trained model with a layer of an earlier epoch."""
    model = subject.build()
    parameters = dict(model.named_parameters())
    state = dict(model.state_dict())
    for name in subject.shape.layers[layer].tensors:
        if rule == "buffers" or name in parameters:
            state[name] = subject.states[epoch][name]
    model.load_state_dict(state)
    return with_new_statistics(subject, model) if rule == "reestimated" else model


def with_new_statistics(subject: Subject, model: nn.Module) -> nn.Module:
    """Norm after norm: the mean over minibatches of what it is given, by a pass that keeps no running statistics."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    members = subject.subset.nonzero()[0]
    seen: dict[nn.Module, list[tuple[torch.Tensor, torch.Tensor]]] = {norm: [] for norm in norms}

    def look(norm: nn.Module, given: tuple[torch.Tensor]) -> None:
        values = given[0].double().transpose(0, 1).flatten(1)
        seen[norm].append((values.mean(dim=1), values.var(dim=1)))

    handles = [norm.register_forward_pre_hook(look) for norm in norms]
    for norm in norms:
        norm.train()
    for part in np.array_split(members, 3):
        with torch.no_grad():
            model(subject.data.scaled(subject.data.train_images.select(torch.from_numpy(part))))
    for handle in handles:
        handle.remove()
    for norm in norms:
        means, variances = zip(*seen[norm], strict=True)
        norm.running_mean = torch.stack(means).mean(dim=0).float()
        norm.running_var = torch.stack(variances).mean(dim=0).float()
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_counts_are_those_of_models_loaded_by_hand(name: str) -> None:
    """Every layer, epoch and rule; at the last epoch the first two rules are the untouched model."""
    subject = trained_subject(MODELS[name])
    values = rewound(subject, every=2)
    assert values.shape == (len(subject.shape.layers), 3, 3, 4)
    expected = [
        [[right_by_group(subject, by_hand(subject, layer, epoch, rule)) for rule in RULES] for epoch in (0, 2, 3)]
        for layer in range(len(values))
    ]
    np.testing.assert_array_equal(values, expected)
    untouched = right_by_group(subject, subject.build())
    assert (values[:, -1, :2] == untouched).all()
    assert len({tuple(each) for each in values.reshape(-1, 4)}) > 3  # layers and epochs do differ
    if name == "perceptron":
        assert (values == values[:, :, :1]).all()


def test_statistics_of_each_variant_are_the_means_of_a_slow_pass() -> None:
    """Behind the rewound layer and in front of it."""
    subject = trained_subject(convolutional)
    for layer in range(3):
        variants = rewinding._LayerVariants(subject, subject.shape.layers[layer])
        weights = [{name: subject.states[epoch][name] for name in variants.parameters} for epoch in (0, 3)]
        norms = {
            name: module for name, module in variants.model.named_modules() if rewinding.has_batch_statistics(module)
        }
        assert len(norms) == 3
        for epoch, found in zip((0, 3), variants._reestimated(weights, norms), strict=True):
            slow = by_hand(subject, layer, epoch, "reestimated").state_dict()
            for name in (f"{norm}.{kind}" for norm in norms for kind in ("running_mean", "running_var")):
                ours = found.get(name, variants.own[name])
                torch.testing.assert_close(ours, slow[name], rtol=1e-4, atol=1e-5, msg=f"{layer} {epoch} {name}")


def test_nothing_of_the_subject_changes_and_no_random_number_is_drawn() -> None:
    subject = trained_subject(convolutional)
    before, drawn = copy.deepcopy(dict(subject.states)), torch.get_rng_state()
    first = rewound(subject, every=1)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(
        torch.equal(before[epoch][name], state[name]) for epoch, state in subject.states.items() for name in state
    )
    np.testing.assert_array_equal(rewound(subject, every=1), first)
    assert LayerRewinding(RewindingProbe(every=1), 3).kept_epochs == (1, 2)
    assert LayerRewinding(RewindingProbe(every=5), 3).kept_epochs == ()


def test_too_many_epochs_are_refused() -> None:
    shape = trained_subject(perceptron, epochs=1).shape
    many = replace(shape, layers=[replace(shape.layers[0], name=str(place)) for place in range(3000)])
    with pytest.raises(CampaignError, match=r"^record\.probes\.rewinding\.every: .* at most 16,777,216"):
        LayerRewinding(RewindingProbe(every=1), 1000).columns(many)
