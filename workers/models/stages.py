"""Finds the stages of a model, and puts dropout behind each."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from workers.campaign.stage_dropout import StageDropout
from workers.errors import ModelError
from workers.models.checking import unchanged
from workers.models.stage_dropout import count, stage_module

_PRODUCTS = (nn.Linear, nn.modules.conv._ConvNd)
_ACTIVATIONS = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Hardswish, nn.Hardtanh, nn.Softplus, nn.Tanh, nn.Sigmoid),
)
_BLOCKS = {
    *(("torchvision.models.resnet", name) for name in ("BasicBlock", "Bottleneck")),
    ("torchvision.models.vision_transformer", "EncoderBlock"),
    ("torch.nn.modules.transformer", "TransformerEncoderLayer"),
}


@dataclass(frozen=True)
class Stage:
    """A submodule whose output is a stage's."""

    name: str
    is_block: bool
    channels: int
    axis: int
    """Of the channels: 1 behind a convolution, else -1."""


def insert_stage_dropout(model: nn.Module, spec: StageDropout, name: str, input_shape: tuple[int, ...]) -> nn.Module:
    """The model with dropout behind each of its stages, in place; names of its parameters and buffers stay.

    Stages are residual blocks as a whole, behind their sum, and outside of blocks each activation that is the first one
    behind a convolution or linear layer; in both cases with another such layer behind it, so that logits are none.
    Blocks are those of torchvision's ResNets and vision transformer, `nn.TransformerEncoderLayer`, and every module
    with `is_stage = True`, as `resnet9` and `vit-small-data` have them. So `resnet9` has the six stages of Maini et al.
    (ICML 2023): two convolutions, a residual block, a convolution, a residual block, a convolution.

    Raises ModelError, which opens with the field, where there is no stage or no channel is left on; what the model's
    forward raises passes through.
    """
    stages = find_stages(model, name, input_shape)
    for number, stage in enumerate(stages):
        share, field = (spec.p_gen, "p_gen") if spec.name == "example-tied" else (spec.keep, "keep")
        if count(share, stage.channels) == 0:
            raise ModelError(
                f"model.stage_dropout.{field}: must leave a channel on, got {share:g} of the {stage.channels} channels "
                f"of {stage.name}"
            )
        dropout = stage_module(spec, number, stage.channels, stage.axis)
        module = model.get_submodule(stage.name)
        if stage.is_block:
            module.stage_dropout = dropout
            module.register_forward_hook(_drop_behind)
        else:
            parent, _, child = stage.name.rpartition(".")
            setattr(model.get_submodule(parent), child, nn.Sequential(module, dropout))
    return model


def _drop_behind(module: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
    dropped: torch.Tensor = module.get_submodule("stage_dropout")(output)
    return dropped


def find_stages(model: nn.Module, name: str, input_shape: tuple[int, ...]) -> list[Stage]:
    """The stages in the order of the forward pass, which is tried in evaluation mode; the model stays as it is.

    Raises ModelError where there is none, or where one module is several stages.
    """
    seen: list[Stage] = []
    confirmed = 0
    axis: int | None = None

    def product(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal axis, confirmed
        axis, confirmed = (-1 if isinstance(module, nn.Linear) else 1), len(seen)

    handles = [module.register_forward_hook(product) for module in model.modules() if isinstance(module, _PRODUCTS)]
    for place, module in _candidates(model):

        def look(module: nn.Module, inputs: object, output: object, place: str = place) -> None:
            nonlocal axis
            if axis is not None and isinstance(output, torch.Tensor) and output.ndim >= 2:
                seen.append(Stage(place, is_block(module), output.shape[axis], axis))
                axis = None

        handles.append(module.register_forward_hook(look))
    try:
        with unchanged(model), torch.no_grad():
            model.eval()
            model(torch.zeros((2, *input_shape)))
    finally:
        for handle in handles:
            handle.remove()
    return _checked(seen[:confirmed], name)


def _checked(stages: list[Stage], name: str) -> list[Stage]:
    if not stages:
        raise ModelError(
            f"model.stage_dropout: {name} has no stage: there must be an activation module, as nn.ReLU(), between two "
            "convolution or linear layers, or a block with is_stage = True"
        )
    names = [stage.name for stage in stages]
    for place in names:
        if names.count(place) > 1:
            raise ModelError(
                f"model.stage_dropout: {place} of {name} is used {names.count(place)} times: each stage needs an "
                "activation module of its own"
            )
    return stages


def is_block(module: nn.Module) -> bool:
    """Whether the module is a stage as a whole."""
    return (type(module).__module__, type(module).__name__) in _BLOCKS or getattr(module, "is_stage", False) is True


def _candidates(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Blocks, and activations outside of them, by name."""
    for name, child in module.named_children():
        if is_block(child) or type(child) in _ACTIVATIONS:
            yield f"{prefix}{name}", child
        else:
            yield from _candidates(child, f"{prefix}{name}.")
