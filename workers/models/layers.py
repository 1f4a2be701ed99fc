"""The layers of a model as localization counts them: groups of tensors, in the order of the forward pass."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from workers.campaign.model_spec import CustomModel, ModelSpec, ResNet, ResNet9, SmallDataViT, ViT

_RESNET9_NAMES = ("conv1", "conv2", "res1.0", "res1.1", "conv3", "res2.0", "res2.1", "conv4", "head")
_PRODUCTS = (nn.Linear, nn.Bilinear, _ConvNd, nn.MultiheadAttention, nn.RNNBase)
_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
_UNITS_LAST = (nn.Linear, nn.Bilinear, nn.LayerNorm, nn.RMSNorm, nn.MultiheadAttention, nn.RNNBase)


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer with the norm behind it, a stage of a ResNet, or a block of a transformer."""

    name: str
    tensors: tuple[str, ...]
    """Names of its parameters and buffers in the model's `state_dict`. Each tensor of a model is in one layer."""
    output: str
    """The submodule whose output has the layer's units: channels (axis 1) of images, the last axis of anything else."""


@dataclass(frozen=True)
class _Group:
    """A layer by the submodules and bare parameters that it starts with."""

    name: str
    prefixes: tuple[str, ...]
    output: str


def model_layers(model: nn.Module, spec: ModelSpec) -> tuple[Layer, ...]:
    """The layers of a model that `build_model` made from `spec`; each tensor of its `state_dict` is in one of them.

    The groups of Maini et al., "Can Neural Network Memorization Be Localized?" (ICML 2023): ResNet-9 has nine,
    torchvision's ResNets have the stem, four stages and the head, a ViT the embedding with class token and positions,
    its blocks, and the head with the final norm. Any other model has a layer for each convolution, linear or attention
    layer, and for each module of a custom class with a matrix of its own, in the order in which they are registered;
    a norm, or what else has tensors, belongs to the layer before it (in front of all, to the first). The last layer is
    taken for the head. A tensor with several names is in one layer, by its first name.
    """
    match spec:
        case ResNet():
            groups = _resnet_groups()
        case ViT():
            groups = _vit_groups(spec)
        case SmallDataViT():
            groups = _small_data_vit_groups(spec)
        case _:
            groups = _product_groups(model, spec)
    tensors: list[list[str]] = [[] for _ in groups]
    known: dict[int, int] = {}
    current = 0
    for name, tensor in model.state_dict(keep_vars=True).items():
        if isinstance(tensor, torch.Tensor):  # not what get_extra_state returns
            current = known.setdefault(id(tensor), _group_of(name, groups, otherwise=current))
            tensors[current].append(name)
    return tuple(Layer(group.name, tuple(names), group.output) for group, names in zip(groups, tensors, strict=True))


def unit_axis(module: nn.Module, output: torch.Tensor) -> int:
    """The axis of a layer's units in what the module `Layer.output` returned for a batch."""
    if isinstance(module, _UNITS_LAST):
        return output.ndim - 1
    if isinstance(module, (_ConvNd, _NormBase, nn.GroupNorm)) or output.ndim > 3:
        return 1
    return output.ndim - 1


def _group_of(tensor: str, groups: Sequence[_Group], otherwise: int) -> int:
    for index, group in enumerate(groups):
        if any(prefix == "" or f"{tensor}.".startswith(f"{prefix}.") for prefix in group.prefixes):
            return index
    return otherwise


def _resnet_groups() -> list[_Group]:
    stages = [_Group(f"stage{number}", (f"layer{number}",), f"layer{number}") for number in range(1, 5)]
    return [_Group("stem", ("conv1", "bn1"), "bn1"), *stages, _Group("head", ("fc",), "fc")]


def _vit_groups(spec: ViT) -> list[_Group]:
    paths = [f"encoder.layers.encoder_layer_{index}" for index in range(spec.layers)]
    blocks = [_Group(f"block{number}", (path,), path) for number, path in enumerate(paths, start=1)]
    embedding = _Group("embedding", ("class_token", "conv_proj", "encoder.pos_embedding"), "encoder.dropout")
    return [embedding, *blocks, _Group("head", ("encoder.ln", "heads"), "heads")]


def _small_data_vit_groups(spec: SmallDataViT) -> list[_Group]:
    """Tokens, positions and dropout come before the blocks; the class token is chosen behind them."""
    first, last = 3, 3 + spec.layers
    blocks = [_Group(f"block{place - 2}", (str(place),), str(place)) for place in range(first, last)]
    return [
        _Group("embedding", ("0", "1"), "2"),
        *blocks,
        _Group("head", (f"{last + 1}", f"{last + 2}"), f"{last + 2}"),
    ]


def _product_groups(model: nn.Module, spec: ModelSpec) -> list[_Group]:
    """A group for each layer that multiplies by weights; one for the whole model where there is none."""
    products: dict[str, nn.Module] = {}
    outputs: dict[str, str] = {}
    current = None
    for path, module in model.named_modules():
        if current is not None and (current == "" or path.startswith(f"{current}.")):
            continue  # a part of a layer, as the attention's last product is
        if _is_product(module):
            current = path
            products[path], outputs[path] = module, path
        elif current is not None and outputs[current] == current and _is_norm_of(module, products[current]):
            outputs[current] = path
    if not products:
        return [_Group("model", ("",), "")]
    names = _names(products, spec)
    return [_Group(name, (path,), outputs[path]) for name, path in zip(names, products, strict=True)]


def _is_product(module: nn.Module) -> bool:
    if isinstance(module, _PRODUCTS):
        return True
    matrix = any(parameter.ndim > 1 for parameter in module.parameters(recurse=False))
    leaf = next(module.children(), None) is None
    return matrix and leaf and not isinstance(module, (*_NORMS, nn.Embedding, nn.EmbeddingBag))


def _is_norm_of(module: nn.Module, product: nn.Module) -> bool:
    """Whether it normalizes as many units as the layer before it has."""
    if not isinstance(module, _NORMS):
        return False
    shape = getattr(module, "normalized_shape", None)
    count = getattr(module, "num_features", getattr(module, "num_channels", None)) if shape is None else shape[-1]
    return bool(count == getattr(product, "out_channels", getattr(product, "out_features", None)))


def _names(products: dict[str, nn.Module], spec: ModelSpec) -> Sequence[str]:
    """Of Longtail's own models conv1, conv2, hidden1, head; of others the submodules' paths."""
    if isinstance(spec, CustomModel):
        return [path or "model" for path in products]
    if isinstance(spec, ResNet9):
        return _RESNET9_NAMES
    convolutions = [path for path, module in products.items() if isinstance(module, _ConvNd)]
    hidden = [path for path in products if path not in convolutions][:-1]
    numbered = {path: f"conv{number}" for number, path in enumerate(convolutions, start=1)}
    numbered |= {path: f"hidden{number}" for number, path in enumerate(hidden, start=1)}
    return [numbered.get(path, "head") for path in products]
