"""Muon: momentum whose matrices are orthogonalized, of all models of a stack in one batched product.

The arithmetic of `torch.optim.Muon`, which takes single matrices, and no rate that lies on a GPU.
"""

import math
from collections.abc import Mapping, Sequence

import torch

from workers.campaign.recipe import Muon
from workers.models.stacking import Weight
from workers.training.scheduled_rate import ScheduledRate

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration (kellerjordan.github.io/posts/muon): steep at 0, and singular values end near 1."""


class MuonUpdate:
    """See `WeightGroup`. Weights are matrices [out, ...] of one model, or [K, out, ...] of a stack."""

    def __init__(self, weights: Mapping[int, Weight], config: Muon, compute: torch.dtype) -> None:
        """`compute` is the dtype of the products."""
        self.indices, self.weights = tuple(weights), tuple(weights.values())
        self.config = config
        self.compute = compute
        self.rate = ScheduledRate(config.learning_rate, self.weights)
        self.momentum = [torch.zeros_like(weight.master) for weight in self.weights]

    def tensors(self) -> dict[str, torch.Tensor]:
        """See `WeightGroup.tensors`."""
        return {f"first.{index}": momentum for index, momentum in zip(self.indices, self.momentum, strict=True)}

    def set_rate_factor(self, factor: float) -> None:
        """See `WeightGroup.set_rate_factor`."""
        self.rate.set_factor(factor)

    def apply(self, gradients: Sequence[torch.Tensor | None]) -> None:
        """See `WeightGroup.apply`."""
        with torch.no_grad():
            for index, weight, momentum in zip(self.indices, self.weights, self.momentum, strict=True):
                gradient = gradients[index]
                if gradient is not None:
                    self._step(weight, momentum, gradient)

    def _step(self, weight: Weight, momentum: torch.Tensor, gradient: torch.Tensor) -> None:
        """m <- momentum m + (1 - momentum) g; w <- (1 - rate decay) w - rate scale NS(m, or Nesterov's mean with g)."""
        config, rate = self.config, self.rate.value
        gradient = gradient.to(momentum.dtype)
        momentum.lerp_(gradient, 1 - config.momentum)
        direction = gradient.lerp(momentum, config.momentum) if config.nesterov else momentum
        matrices = direction.reshape(-1, *_matrix_shape(weight))
        step = orthogonalized(matrices.to(self.compute), config.iterations, config.epsilon)
        scale = rate_scale(config, *_matrix_shape(weight))
        weight.master.mul_(1 - rate * config.weight_decay)
        weight.master.sub_(step.reshape(weight.master.shape).to(momentum.dtype) * (rate * scale))
        if weight.is_copied:
            weight.working.copy_(weight.master)


def orthogonalized(matrices: torch.Tensor, iterations: int, epsilon: float) -> torch.Tensor:
    """float[K, A, B] to the same shape: each matrix with its singular values moved towards 1.

    Each is divided by its norm, or `epsilon` where that is less, and then X <- a X + (b X X^T + c (X X^T)^2) X, in the
    matrices' dtype.
    """
    a, b, c = _COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp(min=epsilon)
    for _ in range(iterations):
        gram = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def rate_scale(config: Muon, rows: int, columns: int) -> float:
    """The factor of the rate for matrices of this shape."""
    match config.rate_scaling:
        case "original":
            return math.sqrt(max(1, rows / columns))
        case "match_rms_adamw":
            return 0.2 * math.sqrt(max(rows, columns))
        case "spectral_unclamped":
            return math.sqrt(rows / columns)


def _matrix_shape(weight: Weight) -> tuple[int, int]:
    """(out, rest) of one model's matrix."""
    return weight.shape[0], math.prod(weight.shape[1:])
