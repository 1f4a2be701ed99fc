"""Gives gradients the memory layout of their weights, for updates that read memory in sequence."""

import torch


def laid_out_like(weight: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """The gradient with the weight's strides, in its own dtype; itself where it has them."""
    if gradient.stride() == weight.stride():
        return gradient
    return torch.empty_like(weight, dtype=gradient.dtype).copy_(gradient)
