"""SGD in one pass has the bits of the same operations one by one."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from workers.campaign.recipe import SGD
from workers.models.stacking import Weight
from workers.training.optimizers import Update

SPECIAL = torch.tensor([0.0, -0.0, 1.0, 3e38, -3e38, 1e-39, 1.00390625, 1.01171875, torch.inf, -torch.inf, torch.nan])
"""Among them the largest values, one below the normal ones, and ties of rounding to bfloat16."""


def one_by_one(
    how: SGD, rate: float, master: torch.Tensor, momentum: torch.Tensor, gradient: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(momentum, master) after a step, each operation by itself in float32."""
    step = gradient.float() + torch.tensor(how.weight_decay) * master
    momentum = torch.tensor(how.momentum) * momentum + step
    step = step + torch.tensor(how.momentum) * momentum if how.nesterov else momentum
    return momentum, master - torch.tensor(rate) * step


@settings(deadline=None, max_examples=20)
@given(
    shape=st.sampled_from([(1, 1), (3, 5), (1, 2047), (2, 1024), (1, 2049), (41, 107)]),
    nesterov=st.booleans(),
    decay=st.sampled_from([0.0, 0.01]),
    seed=st.integers(0, 2**31),
    is_transposed=st.booleans(),
    is_special=st.booleans(),
)
def test_bits(
    shape: tuple[int, int], nesterov: bool, decay: float, seed: int, is_transposed: bool, is_special: bool
) -> None:
    draws = torch.Generator().manual_seed(seed)
    how = SGD(learning_rate=1, momentum=0.9, nesterov=nesterov, weight_decay=decay)
    master = torch.randn(shape, generator=draws)
    if is_special:
        chosen = torch.randint(len(SPECIAL), shape, generator=draws)
        master = torch.where(torch.rand(shape, generator=draws) < 0.3, SPECIAL[chosen], master)
    working = nn.Parameter(master.to(torch.bfloat16))
    expected, momentum = master.clone(), torch.zeros(shape)
    update = Update([Weight(master, working)], how)
    for rate in (0.1, 0.03, 0.003):
        gradient = torch.randn(shape, generator=draws).to(torch.bfloat16)
        given_gradient = gradient.t().contiguous().t() if is_transposed else gradient
        momentum, expected = one_by_one(how, rate, expected, momentum, gradient)
        update.set_rate_factor(rate)
        # Its gradient is the other factor.
        update.apply(update.gradients(_Dot.apply(working, given_gradient)))
        torch.testing.assert_close(master, expected, rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(update.tensors()["first.0"], momentum, rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(working.detach(), expected.to(torch.bfloat16), rtol=0, atol=0, equal_nan=True)


class _Dot(torch.autograd.Function):
    """A scalar whose gradient is the second tensor, as it lies in memory."""

    @staticmethod
    def forward(ctx, working, factor):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(factor)
        return working.float().sum() * 0

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        return ctx.saved_tensors[0], None


def test_float32_and_other_layouts_keep_pytorchs_update() -> None:
    wide = torch.randn(4, 3, 3, 3).contiguous(memory_format=torch.channels_last)
    plain = torch.randn(4, 3)
    weights = [Weight(wide, nn.Parameter(wide.to(torch.bfloat16))), Weight(plain, nn.Parameter(plain))]
    update = Update(weights, SGD())
    before = [weight.master.clone() for weight in weights]
    update.set_rate_factor(1)
    loss = torch.stack([weight.working.float().square().sum() for weight in weights]).sum()
    update.apply(update.gradients(loss))
    for weight, first in zip(weights, before, strict=True):
        rounded = first.to(weight.working.dtype).float()
        expected = first - 0.1 * (2 * rounded).to(weight.working.dtype).float()
        torch.testing.assert_close(weight.master, expected)
        assert torch.equal(weight.working.detach(), weight.master.to(weight.working.dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_what_an_update_changes_is_told(dtype: torch.dtype) -> None:
    """A checkpoint needs the master of a weight whose module has a copy."""
    master = torch.randn(3, 2)
    update = Update([Weight(master, nn.Parameter(master.to(dtype)))], SGD())
    masters = [name for name in update.tensors() if name.startswith("master")]
    assert len(masters) == (dtype == torch.bfloat16)
