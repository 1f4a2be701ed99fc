"""Muon beside torch.optim.Muon and a loop in float64; which weights it is for."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.optim._muon import muon

from tests.conftest import small_campaign
from workers.campaign.recipe import SGD, Muon
from workers.models import build_model
from workers.models.stacking import StackedModel, Weight
from workers.models.weight_roles import weight_roles
from workers.training.muon import orthogonalized
from workers.training.optimizers import Update

SHAPES = [(8, 5), (5, 8), (6, 2, 3, 3), (20, 1, 2, 2)]
"""Wide, tall, convolutions."""


def weights_of(values: list[torch.Tensor], stacked: bool) -> list[Weight]:
    return [Weight(each, nn.Parameter(each), "", "matrix", stacked) for each in values]


def steps(shape: tuple[int, ...], count: int) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(math.prod(shape))
    return [torch.randn(shape, generator=random) for _ in range(count)]


@pytest.mark.parametrize("scaling", ["original", "match_rms_adamw", "spectral_unclamped"])
@pytest.mark.parametrize("nesterov", [False, True])
def test_an_update_is_pytorchs(scaling: str, nesterov: bool) -> None:
    """In bfloat16, as PyTorch's always is, with a rate that changes from step to step."""
    how = Muon.model_validate({"name": "muon", "learning_rate": 0.1, "nesterov": nesterov, "rate_scaling": scaling})
    for shape in SHAPES:
        start, *gradients = steps(shape, 4)
        mine, theirs = start.clone(), start.reshape(len(start), -1).clone()
        momentum = torch.zeros_like(theirs)
        update = Update(weights_of([mine], stacked=False), how, torch.bfloat16)
        for factor, gradient in zip((0.5, 1.0, 0.1), gradients, strict=True):
            update.set_rate_factor(factor)
            update.apply([gradient])
            muon(
                [theirs],
                [gradient.reshape(theirs.shape)],
                [momentum],
                lr=0.1 * factor,
                weight_decay=0.1,
                momentum=0.95,
                nesterov=nesterov,
                ns_coefficients=(3.4445, -4.7750, 2.0315),
                ns_steps=5,
                eps=1e-7,
                adjust_lr_fn=scaling,
                has_complex=False,
            )
        torch.testing.assert_close(mine.reshape(theirs.shape), theirs, rtol=0, atol=4e-3)
        assert (mine - start).abs().mean() > 0.02


def in_float64(start: torch.Tensor, gradients: list[torch.Tensor], how: Muon) -> torch.Tensor:
    """The published algorithm, a matrix at a time."""
    weight, mean = start.double(), torch.zeros(start.shape, dtype=torch.float64)
    for gradient in gradients:
        mean = how.momentum * mean + (1 - how.momentum) * gradient.double()
        x = (1 - how.momentum) * gradient.double() + how.momentum * mean
        x = x.reshape(len(x), -1)
        x = x / math.sqrt(float((x * x).sum()))
        for _ in range(how.iterations):
            x = 3.4445 * x + (-4.775 * x @ x.T + 2.0315 * x @ x.T @ x @ x.T) @ x
        scale = math.sqrt(max(1.0, x.shape[0] / x.shape[1]))
        weight = weight * (1 - how.learning_rate * how.weight_decay) - how.learning_rate * scale * x.view(weight.shape)
    return weight


def test_every_model_of_a_stack_is_updated_as_by_itself_in_float32() -> None:
    """Also where the gradient of one of them is not finite, or zero."""
    how = Muon(name="muon", learning_rate=0.1)
    for shape in SHAPES:
        start, *gradients = steps((4, *shape), 4)
        for gradient in gradients:
            gradient[1], gradient[2] = torch.nan, 0
        mine = start.clone()
        update = Update(weights_of([mine], stacked=True), how)
        update.set_rate_factor(1.0)
        for gradient in gradients:
            update.apply([gradient])
        for place in (0, 3):
            expected = in_float64(start[place], [gradient[place] for gradient in gradients], how)
            torch.testing.assert_close(mine[place].double(), expected, rtol=1e-4, atol=1e-5)
        assert mine[1].isnan().all()
        torch.testing.assert_close(mine[2], start[2] * 0.99**3)


def test_singular_values_move_towards_one() -> None:
    matrices = torch.stack(steps((30, 12), 3))
    values = torch.linalg.svdvals(orthogonalized(matrices, 5, 1e-7))
    assert 0.6 < values.min() < values.max() < 1.3


ROLES = {
    "airbench": ({"name": "airbench", "widths": [4, 6, 6]}, (3, 16, 16), 7, 6, 8),
    "resnet9": ({"name": "resnet9", "width": 4}, (3, 16, 16), 8, 8, 9),
    "mlp": ({"name": "mlp", "hidden": [8, 6]}, (1, 8, 8), 2, 0, 4),
}


@pytest.mark.parametrize("kind", ROLES)
def test_matrices_are_those_of_hidden_layers(kind: str) -> None:
    model, shape, matrices, biases, others = ROLES[kind]
    built = build_model(small_campaign(model=model).model, shape, 10)
    named = {each: name for name, each in built.named_parameters()}
    roles = {named[each]: role for each, role in weight_roles(built).items()}
    found = list(roles.values())
    assert [found.count(role) for role in ("matrix", "norm-bias", "other")] == [matrices, biases, others]
    assert roles[[name for name in roles if name.endswith("weight")][-1]] == "other", "the head's"
    stack = StackedModel([built, copy.deepcopy(built)])
    assert {weight.name: weight.role for weight in stack.weights} == {name: roles[name] for name in stack.trained}


def test_what_is_no_matrix_is_updated_by_the_others() -> None:
    torch.manual_seed(0)
    how = Muon(name="muon", others=SGD(learning_rate=0.1, momentum=0, norm_bias_factor=4.0, weight_decay=0.2))
    values = [torch.ones(3), torch.ones(3), torch.ones(2, 3)]
    roles = ["norm-bias", "other", "matrix"]
    weights = [Weight(each, nn.Parameter(each), "", role, False) for each, role in zip(values, roles, strict=True)]  # type: ignore[arg-type]
    update = Update(weights, how)
    update.set_rate_factor(0.5)
    update.apply([torch.full((3,), 2.0), torch.full((3,), 2.0), None])
    torch.testing.assert_close(values[0], torch.full((3,), 1 - 0.5 * 0.4 * 2 - 0.5 * 0.1 * 0.2))
    torch.testing.assert_close(values[1], torch.full((3,), 1 - 0.5 * 0.1 * 2 - 0.5 * 0.1 * 0.2))
    assert torch.equal(values[2], torch.ones(2, 3)), "without a gradient it stays"
    assert sorted(update.tensors()) == ["first.0", "first.1", "first.2"]
