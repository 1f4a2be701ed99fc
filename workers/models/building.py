"""From a campaign's `model` part to a model."""

from functools import lru_cache

import torch

from workers.errors import ModelError
from workers.imports import call_function
from workers.models.airbench import build_airbench
from workers.models.mlp import build_mlp
from workers.models.mnist_cnn import build_mnist_cnn
from workers.models.resnet import build_resnet
from workers.models.resnet9 import build_resnet9
from workers.models.size import check_size
from workers.models.small_cnn import build_small_cnn
from workers.models.vit import build_vit
from workers.specs import MLP, MNISTCNN, Airbench, CustomModel, ModelSpec, ResNet, ResNet9, SmallCNN, ViT
from workers.user_code import user_code


def build_model(spec: ModelSpec, input_shape: tuple[int, ...], num_classes: int) -> torch.nn.Module:
    """A new model on the CPU: float32[B, *input_shape] to logits float32[B, num_classes].

    Weights come from torch's global generator. Raises ModelError where the model does not fit the input shape or is too
    large (see `size`); what a
    custom function raises passes through.
    """
    if isinstance(spec, CustomModel):
        return _build_custom(spec, input_shape, num_classes)
    _check_size(spec, input_shape, num_classes)
    return _build(spec, input_shape, num_classes)


@lru_cache(64)
def _check_size(spec: ModelSpec, input_shape: tuple[int, ...], num_classes: int) -> None:
    check_size(lambda: _build(spec, input_shape, num_classes), input_shape)


def _build(spec: ModelSpec, input_shape: tuple[int, ...], num_classes: int) -> torch.nn.Module:
    match spec:
        case MLP():
            return build_mlp(spec, input_shape, num_classes)
        case SmallCNN():
            return build_small_cnn(spec, input_shape, num_classes)
        case MNISTCNN():
            return build_mnist_cnn(spec, input_shape, num_classes)
        case ResNet9():
            return build_resnet9(spec, input_shape, num_classes)
        case Airbench():
            return build_airbench(spec, input_shape, num_classes)
        case ResNet():
            return build_resnet(spec, input_shape, num_classes)
        case ViT():
            return build_vit(spec, input_shape, num_classes)
        case _:
            raise TypeError(spec)


def _build_custom(spec: CustomModel, input_shape: tuple[int, ...], num_classes: int) -> torch.nn.Module:
    with user_code(spec.name):
        model = call_function(spec.name, ModelError, input_shape, num_classes, **spec.options)
    if not isinstance(model, torch.nn.Module):
        raise ModelError(f"{spec.name}: must return a torch.nn.Module, got {type(model).__name__}")
    return model
