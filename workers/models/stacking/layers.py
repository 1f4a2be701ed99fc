"""Stacked forms of standard layers.

A stack's activations are folded: K models' batches of B examples are one tensor [K*B, ...], model after model. So
whatever treats the examples of a batch independently (activations, pooling, flattening, ...) works on a stack
unchanged, and only layers with weights or with batch statistics need a form of their own. Parameters are [K, ...]; a
product is computed in the dtype of its weight, which may be a copy in half precision of the float32 one.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from workers.models.stage_dropout import ChannelDropout


class Stacked(nn.Module):
    """Base: K parameters in one. Made from K layers that differ in nothing but their values."""

    source: ClassVar[tuple[type[nn.Module], ...]]

    def __init__(self, layers: Sequence[Any]) -> None:
        super().__init__()
        self.count = len(layers)
        for name, parameter in layers[0].named_parameters():
            stacked = torch.stack([layer.get_parameter(name).detach() for layer in layers])
            self.register_parameter(name, nn.Parameter(stacked, requires_grad=parameter.requires_grad))
        for name, _ in layers[0].named_buffers():
            self.register_buffer(name, torch.stack([layer.get_buffer(name) for layer in layers]))


class _Products(torch.autograd.Function):
    """x [K, R, I], weight [K, O, I], bias float32[K, O] to x weight^T + bias [K, R, O], in the weight's dtype.

    Autograd's own form returns the weights' gradient transposed, which makes the update several times slower.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> Any:
        ctx.dtype_of_x = x.dtype
        x = x.to(weight.dtype)
        ctx.save_for_backward(x, weight)
        if bias is None:
            return torch.bmm(x, weight.mT)
        return torch.baddbmm(bias.to(weight.dtype)[:, None], x, weight.mT)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        gradient = gradient.to(x.dtype)
        to_x = torch.bmm(gradient, weight).to(ctx.dtype_of_x) if ctx.needs_input_grad[0] else None
        to_weight = torch.bmm(gradient.mT, x) if ctx.needs_input_grad[1] else None
        to_bias = gradient.sum(dim=1, dtype=torch.float32) if ctx.needs_input_grad[2] else None
        return to_x, to_weight, to_bias


class StackedLinear(Stacked):
    """`nn.Linear`: one batched matrix product."""

    source = (nn.Linear,)
    weight: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, layers: Sequence[Any]) -> None:
        super().__init__(layers)
        if layers[0].bias is None:
            self.bias = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[K*B, ..., I] to [K*B, ..., O] in the weight's dtype."""
        if self.count == 1:
            bias = None if self.bias is None else self.bias.squeeze(0).to(self.weight.dtype)
            return F.linear(x.to(self.weight.dtype), self.weight.squeeze(0), bias)
        rows = x.reshape(self.count, -1, x.shape[-1])
        out: torch.Tensor = _Products.apply(rows, self.weight, self.bias)
        return out.view(*x.shape[:-1], out.shape[-1])


class StackedConv(Stacked):
    """`nn.Conv1d`, `nn.Conv2d`, `nn.Conv3d` with zero padding.

    On the CPU one convolution per model: grouped ones were measured to be slower there, up to twice. On a GPU one
    grouped convolution, since there it is the number of kernels that costs.
    """

    source = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    weight: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, layers: Sequence[Any]) -> None:
        super().__init__(layers)
        first = layers[0]
        if first.bias is None:
            self.bias = None
        self.groups: int = first.groups
        self.settings = {name: getattr(first, name) for name in ("stride", "padding", "dilation")}
        kinds: dict[type[nn.Module], Callable[..., torch.Tensor]]
        kinds = {nn.Conv1d: F.conv1d, nn.Conv2d: F.conv2d, nn.Conv3d: F.conv3d}
        self.convolve = kinds[type(first)]

    def lay_out_channels_last(self) -> None:
        """Put each model's weights channels-last, as its convolutions take them on a CPU and alone on a GPU.

        Images of one channel do not tell their layout, so that weights decide. On a CPU pooling took three times as
        long with plain ones, and a step of a small network a third to a half longer; on a GPU each convolution would
        copy its weights into this layout.
        """
        if self.weight.ndim == 5:
            _, out, into, height, width = self.weight.shape
            one = into * height * width
            strides = (out * one, one, 1, width * into, into)  # said in full: with one channel nothing else is kept
            self.weight.data = torch.empty_strided(self.weight.shape, strides).copy_(self.weight.data)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[K*B, C, *size] to [K*B, O, *size] in the weight's dtype."""
        x, weight = x.to(self.weight.dtype), self.weight
        bias = None if self.bias is None else self.bias.to(weight.dtype)
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        if self.count == 1:
            flat_bias = None if bias is None else bias.squeeze(0)
            return self.convolve(x, weight.squeeze(0), flat_bias, groups=self.groups, **self.settings)
        return self.one_by_one(x, weight, bias) if x.device.type == "cpu" else self.grouped(x, weight, bias)

    def one_by_one(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """K convolutions."""
        biases: Sequence[torch.Tensor | None] = [None] * self.count if bias is None else bias.unbind()
        parts = zip(x.chunk(self.count), weight.unbind(), biases, strict=True)
        return torch.cat([self.convolve(part, w, b, groups=self.groups, **self.settings) for part, w, b in parts])

    def grouped(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """One convolution with the models as groups."""
        flat_bias = None if bias is None else bias.flatten()
        groups = self.groups * self.count
        wide = self.convolve(
            models_to_channels(x, self.count), weight.flatten(0, 1), flat_bias, groups=groups, **self.settings
        )
        return channels_to_models(wide, self.count)


class StackedBatchNorm(Stacked):
    """`nn.BatchNorm1d`, `2d`, `3d`: statistics of each model's own batch."""

    source = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

    def __init__(self, layers: Sequence[Any]) -> None:
        super().__init__(layers)
        self.momentum: float = layers[0].momentum
        self.eps: float = layers[0].eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[K*B, C, ...] to the same shape and dtype."""
        values = {name: getattr(self, name, None) for name in ("running_mean", "running_var", "weight", "bias")}
        mean, var, weight, bias = (None if value is None else value.flatten() for value in values.values())
        wide = F.batch_norm(
            models_to_channels(x, self.count),
            mean,
            var,
            weight,
            bias,
            training=self.training or mean is None,
            momentum=self.momentum,
            eps=self.eps,
        )
        return channels_to_models(wide, self.count)


class StackedNorm(Stacked):
    """`nn.LayerNorm` and `nn.GroupNorm`: examples are normalised independently; scale and shift are each model's."""

    source = (nn.LayerNorm, nn.GroupNorm)

    def __init__(self, layers: Sequence[Any]) -> None:
        super().__init__(layers)
        self.plain: Any = layers[0]
        self.plain = type(self.plain)(*_norm_shape(self.plain), eps=self.plain.eps, **_NO_AFFINE[type(self.plain)])
        self.trailing = type(layers[0]) is nn.LayerNorm

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape [K*B, ...] that the layer takes, to the same shape and dtype."""
        out: torch.Tensor = self.plain(x)
        for name, combine in (("weight", torch.mul), ("bias", torch.add)):
            value = getattr(self, name, None)
            if value is not None:
                split = out.view(self.count, -1, *out.shape[1:])
                leading = out.ndim - (value.ndim - 1) if self.trailing else 1
                shape = [self.count, *([1] * leading), *value.shape[1:]]
                shape += [1] * (split.ndim - len(shape))
                out = combine(split, value.to(out.dtype).view(shape)).view(out.shape)
        return out


_NO_AFFINE: dict[type[nn.Module], dict[str, bool]] = {
    nn.LayerNorm: {"elementwise_affine": False},
    nn.GroupNorm: {"affine": False},
}


def _norm_shape(layer: Any) -> tuple[Any, ...]:
    return (layer.normalized_shape,) if type(layer) is nn.LayerNorm else (layer.num_groups, layer.num_channels)


class StackedDropout(Stacked):
    """Dropout of values or of channels: each model's mask is drawn from its own generator, set before training."""

    source = (nn.Dropout, nn.Dropout2d, ChannelDropout)

    def __init__(self, layers: Sequence[Any]) -> None:
        super().__init__(layers)
        self.p: float = layers[0].p
        self.axis: int | None = getattr(layers[0], "axis", 1 if type(layers[0]) is nn.Dropout2d else None)
        """That of the channels which are dropped whole; None: single values are."""
        self.generators: Sequence[torch.Generator] = ()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[K*B, ...] to the same shape and dtype."""
        if not self.training or self.p == 0:
            return x
        shape = list(x.shape)
        if self.axis is not None:
            shape[1:] = [1] * (x.ndim - 1)
            shape[self.axis] = x.shape[self.axis]
        mask = torch.empty((self.count, math.prod(shape) // self.count), device=x.device)
        for row, generator in zip(mask, self.generators, strict=True):
            row.bernoulli_(1 - self.p, generator=generator)
        scale = 0.0 if self.p == 1 else 1 / (1 - self.p)
        return x * (mask * scale).view(shape).to(x.dtype)


STACKED_FORMS: dict[type[nn.Module], type[Stacked]] = {
    source: form
    for form in (StackedLinear, StackedConv, StackedBatchNorm, StackedNorm, StackedDropout)
    for source in form.source
}


def models_to_channels(x: torch.Tensor, count: int) -> torch.Tensor:
    """Folded [K*B, C, ...] to [B, K*C, ...]: the layout in which models are groups of channels."""
    if count == 1:
        return x
    return x.view(count, -1, *x.shape[1:]).transpose(0, 1).flatten(1, 2)


def channels_to_models(x: torch.Tensor, count: int) -> torch.Tensor:
    """[B, K*C, ...] to folded [K*B, C, ...]."""
    if count == 1:
        return x
    return x.view(len(x), count, -1, *x.shape[2:]).transpose(0, 1).flatten(0, 1)
