"""What kind of work a kernel is, by its name: those of cuBLAS, CUTLASS, cuDNN, PyTorch and Triton, and ATen's on a CPU.

The first kind of which a pattern is found counts; what matches none is `other`.
"""

import re
from collections.abc import Iterable

OPTIMISER = "optimiser"
CONVOLUTIONS = "convolutions"
NORMALISATION = "normalisation, activation and pooling"
PRODUCTS = "matrix products"
COPIES = "copies and casts"
OTHER = "other"

_PATTERNS = {
    OPTIMISER: r"FusedSgd|FusedAdam|fused_sgd|fused_adam|_sgd_update|_adamw_update|_apply_update",
    # Before products: cuDNN's convolutions are called after the products that they are made of.
    CONVOLUTIONS: r"fprop|dgrad|wgrad|conv(?!er)|winograd|cudnn_infer|nchwToNhwc|nhwcToNchw|im2col|col2im",
    NORMALISATION: r"batch_?norm|bn_(fw|bw)|layer_?norm|group_?norm|normalization|pool|relu|gelu|threshold|clamp_min"
    r"|soft_?max|nll_loss|logsumexp|dropout|bernoulli",
    PRODUCTS: r"gemm|nvjet|cutlass|cublas|xmma|bmm|::mm\b|matmul|addmm|linear|gemv|splitKreduce|attention|flash|fmha",
    COPIES: r"memcpy|memset|copy|::to\b|::_to_copy|\bfill|FillFunctor|CatArray|::cat\b|index_select|gather"
    r"|index_elementwise|::index\b|indexSelect|clone|contiguous",
}
_KINDS = {kind: re.compile(pattern, re.IGNORECASE) for kind, pattern in _PATTERNS.items()}

ALL = (PRODUCTS, CONVOLUTIONS, NORMALISATION, OPTIMISER, COPIES, OTHER)


def kind_of(name: str) -> str:
    """One of `ALL`."""
    return next((kind for kind, pattern in _KINDS.items() if pattern.search(name)), OTHER)


def busy_time(intervals: Iterable[tuple[float, float]]) -> float:
    """The length of the union of intervals (start, end): kernels of several streams overlap."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
