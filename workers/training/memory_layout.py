"""Memory layouts of weights and their gradients, for updates that read memory in sequence."""

import torch


def is_dense(tensor: torch.Tensor) -> bool:
    """Whether its elements fill its memory without gaps, in whatever order of the axes."""
    order = sorted(range(tensor.ndim), key=lambda axis: (tensor.stride(axis), tensor.shape[axis]), reverse=True)
    return tensor.permute(order).is_contiguous()


def laid_out_like(weight: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """The gradient with the weight's strides, in its own dtype; itself where it has them."""
    if gradient.stride() == weight.stride():
        return gradient
    return torch.empty_like(weight, dtype=gradient.dtype).copy_(gradient)
