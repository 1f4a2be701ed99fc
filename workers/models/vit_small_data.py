"""The vision transformer for small data sets: shifted patch tokens and locality self-attention.

S. H. Lee, S. Lee, B. C. Song, "Vision Transformer for Small-Size Datasets", arXiv:2112.13492, in the form of
`vit_pytorch.vit_for_small_dataset`, which Maini et al. (ICML 2023) trained.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from workers.campaign.model_spec import SmallDataViT
from workers.models.checking import check_patches

_AXES = ((0, 1), (0, -1), (1, 0), (-1, 0))
_DIAGONALS = ((1, 1), (1, -1), (-1, 1), (-1, -1))


def build_vit_small_data(spec: SmallDataViT, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Shifted patch tokens, a class token, positions, blocks, and a linear layer on the class token.

    Raises ModelError where inputs are not square images, the patch does not divide them, or heads do not divide width.
    """
    channels, height = check_patches(spec, input_shape)
    by = max(1, spec.patch_size // 2)
    shifts = _AXES if spec.shifts == "axes" else tuple((by * down, by * right) for down, right in _DIAGONALS)
    patches = (height // spec.patch_size) ** 2
    blocks = [Block(spec.width, spec.heads, spec.hidden, spec.dropout) for _ in range(spec.layers)]
    return nn.Sequential(
        ShiftedPatchTokens(channels, spec.patch_size, spec.width, shifts),
        ClassTokenAndPositions(patches, spec.width),
        nn.Dropout(spec.dropout),
        *blocks,
        FirstToken(),
        nn.LayerNorm(spec.width),
        nn.Linear(spec.width, num_classes),
    )


class ShiftedPatchTokens(nn.Module):
    """Patches of an image and of shifted copies of it, side by side as channels, normalised and projected (eq. 5-8)."""

    def __init__(self, channels: int, patch: int, width: int, shifts: tuple[tuple[int, int], ...]) -> None:
        super().__init__()
        self.patch = patch
        self.shifts = shifts
        values = channels * (1 + len(shifts)) * patch * patch
        self.norm = nn.LayerNorm(values)
        self.projection = nn.Linear(values, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] to tokens [B, H W / patch^2, width]. What is shifted in from outside of the image is 0."""
        copies = torch.cat([x, *(shifted(x, down, right) for down, right in self.shifts)], dim=1)
        patches = F.unfold(copies, self.patch, stride=self.patch).mT
        tokens: torch.Tensor = self.projection(self.norm(patches))
        return tokens


def shifted(x: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """[B, C, H, W] moved by whole pixels: pixel (i, j) is that at (i - down, j - right), or 0."""
    return F.pad(x, (right, -right, down, -down))


class ClassTokenAndPositions(nn.Module):
    """A learned token before the others, and a learned vector added to each."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.class_token = nn.Parameter(torch.randn(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, tokens + 1, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, T, width] to [B, T + 1, width]."""
        first = self.class_token.to(x.dtype).expand(x.shape[0], -1, -1)
        return torch.cat([first, x], dim=1) + self.positions


class LocalityAttention(nn.Module):
    """Self-attention in which no token sees itself, with a learned temperature in place of the root of the width of a
    head (eq. 9-11). One temperature a layer, as its logarithm."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.log_scale = nn.Parameter(torch.tensor(-0.5 * math.log(width // heads)))
        self.inputs = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, T, width] to the same shape."""
        query, key, value = self.inputs(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        scores = (query @ key.mT).float() * self.log_scale.exp()
        itself = torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
        shares = scores.masked_fill(itself, -torch.inf).softmax(dim=3).to(value.dtype)
        mixed = (shares @ value).transpose(1, 2).flatten(2)
        output: torch.Tensor = self.dropout(self.output(mixed))
        return output


class Block(nn.Module):
    """Attention and a hidden layer, each behind a norm and added to its input."""

    is_stage = True

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = LocalityAttention(width, heads, dropout)
        self.layers = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, T, width] to the same shape."""
        x = x + self.attention(self.attention_norm(x))
        return x + self.layers(x)  # type: ignore[no-any-return]


class FirstToken(nn.Module):
    """The class token."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, T, width] to [B, width]."""
        return x[:, 0]
