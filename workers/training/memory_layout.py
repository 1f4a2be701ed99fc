"""Memory layout of gradients for updates that walk through memory, whatever the order of its elements."""

import torch


def laid_out_like(weight: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """The gradient with the weight's strides, in its own dtype; itself where it has them."""
    if gradient.stride() == weight.stride():
        return gradient
    return torch.empty_like(weight, dtype=gradient.dtype).copy_(gradient)
