"""Updates on a GPU in one pass over memory, of weights that are copied to half precision: Triton kernels.

PyTorch's takes three passes (the gradient to float32; state and weights; weights to half precision): 32 bytes a weight
with SGD, here 20. The arithmetic is that of PyTorch's fused kernels on GPUs, in the same order: in double precision,
rounded to float32 where those keep a float32. Which products are fused with a sum is said here (`tl.fma`), so that no
compiler changes a bit; PyTorch's kernels leave it to theirs, and may differ in the last bit of one weight in 10^8.
Rates and step counts are read from tensors, so that a captured step sees them change.
"""

import math
from collections.abc import Sequence
from subprocess import SubprocessError
from typing import cast

import torch
import triton
import triton.language as tl
from torch import nn
from triton.errors import TritonError

from workers.campaign.recipe import SGD, AdamW
from workers.models.stacking import Weight
from workers.training.memory_layout import laid_out_like

_BLOCK = 1024
_OPTIONS = {"enable_fp_fusion": False}
"""A product and a sum are fused where it is said, and nowhere else."""

_UNSUPPORTED = (
    TritonError,  # a kernel that does not compile, ptxas
    RuntimeError,  # no C compiler, no driver, an old CUDA, an error of the device
    SubprocessError,  # the C compiler
    OSError,  # a folder for the cache that cannot be written, a missing program or library
    ImportError,  # a compiled launcher that cannot be loaded
    AssertionError,  # libcuda is not found; PyTorch without CUDA
    ValueError,  # an architecture that Triton does not know
    KeyError,  # an option that this version of Triton does not have
)
"""What Triton and PyTorch raise where kernels cannot be compiled for a device, or not be launched on it."""


class TritonSGD:
    """The steps of one weight. As PyTorch's, momentum starts at the first gradient, and without any none is kept."""

    def __init__(self, weight: Weight, momentum: torch.Tensor, config: SGD) -> None:
        self.weight = weight
        self.momentum = momentum
        self.constants = {"keep": config.momentum, "decay": config.weight_decay, "nesterov": config.nesterov}

    def apply(self, gradient: torch.Tensor, rate: torch.Tensor) -> None:
        """v <- momentum v + g, w <- w - rate v, and the working copy <- w; `rate` is float32[] on the device."""
        master = self.weight.master
        tensors = (laid_out_like(master, gradient), master, self.momentum, bits_of(self.weight), rate)
        with torch.cuda.device_of(master):  # type: ignore[no-untyped-call]
            _sgd_update[_grid(master)](*tensors, master.numel(), **self.constants, block=_BLOCK, **_OPTIONS)


class TritonAdamW:
    """The steps of one weight; `step` float32[] counts them on the device."""

    def __init__(self, weight: Weight, first: torch.Tensor, second: torch.Tensor, step: torch.Tensor, config: AdamW):
        self.weight = weight
        self.state = (first, second)
        self.step = step
        self.constants = {
            "beta1": config.beta1,
            "beta2": config.beta2,
            # beta^step = 2^(step log2 beta); for beta = 0 an exponent whose power underflows to 0.
            "log_beta1": math.log2(config.beta1) if config.beta1 else -1e4,
            "log_beta2": math.log2(config.beta2) if config.beta2 else -1e4,
            "decay": config.weight_decay,
            "epsilon": config.epsilon,
        }

    def apply(self, gradient: torch.Tensor, rate: torch.Tensor) -> None:
        """As `torch.optim.AdamW`, and the working copy <- w; `rate` is float32[] on the device."""
        master = self.weight.master
        self.step.add_(1)
        tensors = (laid_out_like(master, gradient), master, *self.state, bits_of(self.weight), rate, self.step)
        with torch.cuda.device_of(master):  # type: ignore[no-untyped-call]
            _adamw_update[_grid(master)](*tensors, master.numel(), **self.constants, block=_BLOCK, **_OPTIONS)


def one_pass_update(weight: Weight, state: Sequence[torch.Tensor], config: SGD | AdamW) -> TritonSGD | TritonAdamW:
    """The steps of a weight with its momentum, or with Adam's mean gradient, mean square, and number of steps."""
    if isinstance(config, SGD):
        return TritonSGD(weight, state[0], config)
    first, second, step = state
    return TritonAdamW(weight, first, second, step, config)


def is_supported(device: torch.device) -> bool:
    """Whether a kernel compiles, launches and computes the right weight on the device."""
    try:
        weight = Weight(torch.ones(4, device=device), nn.Parameter(torch.ones(4, dtype=torch.bfloat16, device=device)))
        update = TritonSGD(weight, torch.zeros(4, device=device), SGD(momentum=0.5))
        update.apply(torch.ones(4, dtype=torch.bfloat16, device=device), torch.tensor(0.25, device=device))
        return weight.working.tolist() == [0.75] * 4
    except _UNSUPPORTED:
        return False


def bits_of(weight: Weight) -> torch.Tensor:
    """The working copy, bfloat16, as int16 in the same memory."""
    return weight.working.detach().view(torch.int16)


def _grid(master: torch.Tensor) -> tuple[int]:
    return (cast("int", triton.cdiv(master.numel(), _BLOCK)),)


@triton.jit
def _bfloat16_bits(value):  # type: ignore[no-untyped-def]
    """float32 to the nearest bfloat16, ties to even, as int16. In integers: Triton's interpreter cuts bits off."""
    bits = value.to(tl.uint32, bitcast=True)
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)
    # The carry could run over a NaN's exponent.
    bits32 = tl.where(value == value, rounded, bits | 0x400000)
    return (bits32 >> 16).to(tl.uint16).to(tl.int16, bitcast=True)


@triton.jit  # type: ignore[untyped-decorator]
def _sgd_update(  # type: ignore[no-untyped-def]
    gradient,
    master,
    momentum,
    working,
    rate,
    count,
    keep: tl.constexpr,
    decay: tl.constexpr,
    nesterov: tl.constexpr,
    block: tl.constexpr,
):
    """Elements of one block; pointers to `count` elements, and to the rate."""
    place = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    there = place < count
    w = tl.load(master + place, mask=there).to(tl.float64)
    g = tl.load(gradient + place, mask=there).to(tl.float32)
    if decay != 0:
        g = tl.fma(tl.full([block], decay, tl.float64), w, g.to(tl.float64)).to(tl.float32)
    step = g
    if keep != 0:
        keep = tl.full([block], keep, tl.float64)
        v = tl.load(momentum + place, mask=there).to(tl.float64)
        v32 = tl.fma(keep, v, g.to(tl.float64)).to(tl.float32)
        tl.store(momentum + place, v32, mask=there)
        step = v32
        if nesterov:
            step = tl.fma(keep, v32.to(tl.float64), g.to(tl.float64)).to(tl.float32)
    down = tl.broadcast_to(-tl.load(rate).to(tl.float64), [block])
    new = tl.fma(down, step.to(tl.float64), w).to(tl.float32)
    tl.store(master + place, new, mask=there)
    tl.store(working + place, _bfloat16_bits(new), mask=there)


@triton.jit  # type: ignore[untyped-decorator]
def _adamw_update(  # type: ignore[no-untyped-def]
    gradient,
    master,
    first,
    second,
    working,
    rate,
    steps,
    count,
    beta1: tl.constexpr,
    beta2: tl.constexpr,
    log_beta1: tl.constexpr,
    log_beta2: tl.constexpr,
    decay: tl.constexpr,
    epsilon: tl.constexpr,
    block: tl.constexpr,
):
    """Elements of one block; pointers to `count` elements, to the rate and to the number of steps."""
    place = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    there = place < count
    lr = tl.load(rate).to(tl.float64)
    step = tl.load(steps).to(tl.float64)
    size = (lr / (1.0 - tl.exp2(step * log_beta1)).to(tl.float32).to(tl.float64)).to(tl.float32)
    root = tl.sqrt_rn((1.0 - tl.exp2(step * log_beta2)).to(tl.float32))
    w = tl.load(master + place, mask=there).to(tl.float64)
    g = tl.load(gradient + place, mask=there).to(tl.float32).to(tl.float64)
    if decay != 0:
        w = tl.fma(tl.broadcast_to(-(lr * decay), [block]), w, w).to(tl.float32).to(tl.float64)
    m = tl.load(first + place, mask=there).to(tl.float64)
    s = tl.load(second + place, mask=there).to(tl.float64)
    m32 = tl.fma(tl.full([block], beta1, tl.float64), m, (1.0 - beta1) * g).to(tl.float32)
    s32 = tl.fma(tl.full([block], beta2, tl.float64), s, ((1.0 - beta2) * g) * g).to(tl.float32)
    denominator = (tl.div_rn(tl.sqrt_rn(s32), tl.broadcast_to(root, [block])).to(tl.float64) + epsilon).to(tl.float32)
    new = w.to(tl.float32) - tl.div_rn(size * m32, denominator)
    tl.store(first + place, m32, mask=there)
    tl.store(second + place, s32, mask=there)
    tl.store(master + place, new, mask=there)
    tl.store(working + place, _bfloat16_bits(new), mask=there)
