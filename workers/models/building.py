"""Builds a model from a campaign's `model` specification."""

from functools import lru_cache

import torch

from workers.campaign.model_spec import (
    MLP,
    MNISTCNN,
    Airbench,
    CustomModel,
    DenseNet,
    Inception,
    ModelSpec,
    ResNet,
    ResNet9,
    SmallCNN,
    SmallDataViT,
    ViT,
    WideResNet,
)
from workers.errors import ModelError
from workers.models.airbench import build_airbench
from workers.models.densenet import build_densenet
from workers.models.inception import build_inception
from workers.models.mlp import build_mlp
from workers.models.mnist_cnn import build_mnist_cnn
from workers.models.process import preserved_global_state
from workers.models.resnet import build_resnet
from workers.models.resnet9 import build_resnet9
from workers.models.size import check_size
from workers.models.small_cnn import build_small_cnn
from workers.models.stages import insert_stage_dropout
from workers.models.vit import build_vit
from workers.models.vit_small_data import build_vit_small_data
from workers.models.wide_resnet import build_wide_resnet
from workers.user_code.boundary import user_code
from workers.user_code.loading import call_function, load_function


def build_model(spec: ModelSpec, input_shape: tuple[int, ...], num_classes: int) -> torch.nn.Module:
    """A new model on the CPU: float32[B, *input_shape] to logits float32[B, num_classes].

    Weights come from torch's global generator; what a custom function draws from NumPy's and Python's global ones comes
    from its seed. Raises ModelError where the model does not fit the input shape or is too large (see `size`), or where
    a custom function changes the process (see `preserved_global_state`); what that raises passes through.
    """
    if isinstance(spec, CustomModel):
        return _build_custom(spec, input_shape, num_classes)
    _check_size(spec, input_shape, num_classes)
    return build_standard(spec, input_shape, num_classes)


@lru_cache(64)
def _check_size(spec: ModelSpec, input_shape: tuple[int, ...], num_classes: int) -> None:
    check_size(lambda: build_standard(spec, input_shape, num_classes), input_shape)


def build_standard(spec: ModelSpec, input_shape: tuple[int, ...], num_classes: int) -> torch.nn.Module:
    """One of Longtail's own models, of any size. Raises ModelError where it does not fit the input shape."""
    model = _standard(spec, input_shape, num_classes)
    if spec.stage_dropout is not None:
        return insert_stage_dropout(model, spec.stage_dropout, spec.name, input_shape)
    return model


def _standard(spec: ModelSpec, input_shape: tuple[int, ...], num_classes: int) -> torch.nn.Module:
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
        case WideResNet():
            return build_wide_resnet(spec, input_shape, num_classes)
        case DenseNet():
            return build_densenet(spec, input_shape, num_classes)
        case Inception():
            return build_inception(spec, input_shape, num_classes)
        case ViT():
            return build_vit(spec, input_shape, num_classes)
        case SmallDataViT():
            return build_vit_small_data(spec, input_shape, num_classes)
        case _:
            raise TypeError(spec)


def _build_custom(spec: CustomModel, input_shape: tuple[int, ...], num_classes: int) -> torch.nn.Module:
    with user_code(spec.name), preserved_global_state(spec.name), torch.random.fork_rng(devices=[]):
        load_function(spec.name, ModelError)  # what its module draws when it is imported changes no model
    seed = torch.initial_seed()
    with user_code(spec.name), preserved_global_state(spec.name):
        model = call_function(spec.name, ModelError, input_shape, num_classes, **spec.options)
    if torch.initial_seed() != seed:
        raise ModelError(
            f"{spec.name}: calls torch.manual_seed, so that all runs would start from the same weights: leave it out "
            "(each run's seed is set before the call), or draw from a torch.Generator of your own"
        )
    if not isinstance(model, torch.nn.Module):
        raise ModelError(f"{spec.name}: must return a torch.nn.Module, got {type(model).__name__}")
    if spec.stage_dropout is not None:
        with user_code(spec.name):
            return insert_stage_dropout(model, spec.stage_dropout, spec.name, input_shape)
    return model
