"""The vision transformer for small data sets: its tokens and attention, one by one."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from workers.campaign.model_spec import SmallDataViT
from workers.models import build_model

RESNET9_SIZE = (
    9 * (3 * 64 + 2 * 128 * 128 + 128 * 256 + 2 * 256 * 256 + 256 * 128)  # 3 x 3 convolutions
    + 25 * 64 * 128  # the 5 x 5 convolution
    + 2 * (64 + 3 * 128 + 3 * 256 + 128)  # batch normalisation
    + 128 * 10
)


def small_data_vit(**options: object) -> Any:
    """The layers of a small one on 6 x 6 images of two channels, in evaluation mode."""
    torch.manual_seed(0)
    fields = {"name": "vit-small-data", "width": 12, "heads": 3, "hidden": 7, "layers": 1, **options}
    return build_model(SmallDataViT.model_validate(fields), (2, 6, 6), 5).eval()


@pytest.mark.parametrize(
    ("shifts", "patch", "moves"),
    [
        ("axes", 2, [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)]),
        ("diagonals", 2, [(0, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)]),
        ("diagonals", 6, [(0, 0), (3, 3), (3, -3), (-3, 3), (-3, -3)]),
    ],
)
def test_shifted_patch_tokens_pixel_by_pixel(shifts: str, patch: int, moves: list[tuple[int, int]]) -> None:
    """A token is a projection of the normalised patch, and of the same patch of each copy."""
    tokens, images = small_data_vit(shifts=shifts, patch_size=patch)[0], torch.rand(3, 2, 6, 6)
    found = tokens(images)
    side = 6 // patch
    assert found.shape == (3, side * side, 12)
    for place in range(side * side):
        top, left = patch * (place // side), patch * (place % side)
        values = []
        for down, right in moves:
            for channel in range(2):
                for i in range(top - down, top - down + patch):
                    for j in range(left - right, left - right + patch):
                        inside = 0 <= i < 6 and 0 <= j < 6
                        values.append(images[:, channel, i, j] if inside else torch.zeros(3))
        raw = torch.stack(values, dim=1)
        normed = (raw - raw.mean(dim=1, keepdim=True)) / (raw.var(dim=1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        expected = normed @ tokens.projection.weight.T + tokens.projection.bias
        torch.testing.assert_close(found[:, place], expected, rtol=1e-4, atol=1e-5)


def test_locality_attention_token_by_token() -> None:
    """No token sees itself; scores times the learned scale, which starts at one over the root of a head's width."""
    attention, x = small_data_vit()[3].attention, torch.randn(2, 5, 12)
    torch.testing.assert_close(attention.log_scale.exp(), torch.tensor(4.0**-0.5))
    nn.init.constant_(attention.log_scale, 0.7)
    query, key, value = (x @ part.T for part in attention.inputs.weight.chunk(3))
    mixed = torch.zeros(2, 5, 12)
    for b in range(2):
        for head in range(3):
            own = slice(4 * head, 4 * head + 4)
            for i in range(5):
                others = [j for j in range(5) if j != i]
                scores = torch.stack([query[b, i, own] @ key[b, j, own] * math.exp(0.7) for j in others])
                shares = scores.exp() / scores.exp().sum()
                mixed[b, i, own] = sum(share * value[b, j, own] for share, j in zip(shares, others, strict=True))
    torch.testing.assert_close(attention(x), mixed @ attention.output.weight.T + attention.output.bias)


def test_the_vit_for_small_data_has_the_published_size() -> None:
    """512 wide, 8 heads, hidden layers of 512, six blocks, patches of 2 of CIFAR-10's images."""
    model = build_model(SmallDataViT(name="vit-small-data"), (3, 32, 32), 10)
    patch, block = 3 * 5 * 4, 2 * 2 * 512 + 1 + 3 * 512 * 512 + 3 * (512 * 512 + 512)
    assert (
        sum(weight.numel() for weight in model.parameters())
        == 2 * patch + patch * 512 + 512 + 258 * 512 + 6 * block + 2 * 512 + 512 * 10 + 10
    )
