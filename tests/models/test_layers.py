"""Layers of models: which there are, that each tensor is in exactly one, and where a layer's units are."""

import pytest
import torch
from torch import nn

from workers.campaign.model_spec import (
    MLP,
    MNISTCNN,
    Airbench,
    CustomModel,
    ModelSpec,
    ResNet,
    ResNet9,
    SmallCNN,
    SmallDataViT,
    ViT,
)
from workers.models.building import build_standard
from workers.models.layers import model_layers, unit_axis

SPECS: dict[str, tuple[ModelSpec, tuple[str, ...], tuple[str, ...]]] = {
    "mlp": (MLP(hidden=(5, 4)), ("hidden1", "hidden2", "head"), ("1", "3", "5")),
    "linear": (MLP(hidden=()), ("head",), ("1",)),
    "small-cnn": (
        SmallCNN(name="small-cnn", width=2, hidden=3),
        ("conv1", "conv2", "hidden1", "head"),
        ("0", "3", "7", "9"),
    ),
    "mnist-cnn": (MNISTCNN(name="mnist-cnn"), ("conv1", "conv2", "hidden1", "head"), ("0", "3", "8", "11")),
    "resnet9": (
        ResNet9(name="resnet9", width=2),
        ("conv1", "conv2", "res1.0", "res1.1", "conv3", "res2.0", "res2.1", "conv4", "head"),
        ("0.1", "1.1", "2.layers.0.1", "2.layers.1.1", "3.1", "5.layers.0.1", "5.layers.1.1", "6.1", "8"),
    ),
    "airbench": (
        Airbench(name="airbench", widths=(2, 2, 2)),
        ("conv1", "conv2", "conv3", "conv4", "conv5", "conv6", "conv7", "head"),
        ("0", "4", "7", "11", "14", "18", "21", "24"),
    ),
    **{
        name: (
            ResNet(name=name),
            ("stem", "stage1", "stage2", "stage3", "stage4", "head"),
            ("bn1", "layer1", "layer2", "layer3", "layer4", "fc"),
        )
        for name in ("resnet18", "resnet50")
    },
    "vit": (
        ViT(name="vit", layers=2, heads=2, width=8),
        ("embedding", "block1", "block2", "head"),
        ("encoder.dropout", "encoder.layers.encoder_layer_0", "encoder.layers.encoder_layer_1", "heads"),
    ),
    "vit-small-data": (
        SmallDataViT(name="vit-small-data", layers=2, heads=2, width=8),
        ("embedding", "block1", "block2", "head"),
        ("2", "3", "4", "7"),
    ),
}
UNITS = {
    "resnet9": [2, 4, 4, 4, 8, 8, 8, 4, 3],
    "resnet50": [64, 256, 512, 1024, 2048, 3],
    "vit": [8, 8, 8, 3],
    "vit-small-data": [8, 8, 8, 3],
    "airbench": [8, 2, 2, 2, 2, 2, 2, 3],
}


@pytest.mark.parametrize("name", SPECS)
def test_each_tensor_is_in_one_layer_and_layers_have_the_units_that_their_outputs_show(name: str) -> None:
    spec, names, outputs = SPECS[name]
    model = build_standard(spec, (1, 16, 16), 3).eval()
    layers = model_layers(model, spec)
    assert tuple(layer.name for layer in layers) == names
    assert tuple(layer.output for layer in layers) == outputs
    assert sorted(tensor for layer in layers for tensor in layer.tensors) == sorted(model.state_dict())
    assert all(layer.tensors for layer in layers)
    units: list[int] = []

    def look(module: nn.Module, given: object, output: torch.Tensor) -> None:
        units.append(output.shape[unit_axis(module, output)])

    for layer in layers:
        model.get_submodule(layer.output).register_forward_hook(look)
    model(torch.zeros(2, 1, 16, 16))
    assert units == UNITS.get(name, units)
    assert len(units) == len(layers)


def test_layers_of_a_resnet9_have_their_norms() -> None:
    spec, _, _ = SPECS["resnet9"]
    layers = model_layers(build_standard(spec, (1, 16, 16), 3), spec)
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    assert layers[3].tensors == ("2.layers.1.0.weight", *(f"2.layers.1.1.{each}" for each in norm))
    assert layers[8].tensors == ("8.weight",)


def test_tensors_of_a_vit_belong_to_the_embedding_its_blocks_and_the_head() -> None:
    spec, _, _ = SPECS["vit"]
    embedding, first, _, head = model_layers(build_standard(spec, (1, 16, 16), 3), spec)
    assert set(embedding.tensors) == {
        "class_token",
        "conv_proj.weight",
        "conv_proj.bias",
        "encoder.pos_embedding",
    }
    assert len(first.tensors) == 12
    assert set(head.tensors) == {"encoder.ln.weight", "encoder.ln.bias", "heads.head.weight", "heads.head.bias"}


class _Scaled(nn.Module):
    """A layer of a user's own: a matrix, and no submodule."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.ones(3, 3))


class _Odd(nn.Module):
    """What a custom model may have: bare parameters, an embedding, tied weights, attention, a layer that is used twice,
    norms in front of layers and behind them, and state that is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 3))
        self.norm = nn.LayerNorm(3)
        self.table = nn.Embedding(5, 3)
        self.attention = nn.MultiheadAttention(3, 1)
        self.own = _Scaled()
        self.linear = nn.utils.parametrizations.weight_norm(nn.Linear(3, 5, bias=False))
        self.behind = nn.BatchNorm1d(5)
        self.other = nn.BatchNorm1d(7)
        self.again = self.attention
        self.head = nn.Linear(3, 5)
        self.head.weight = self.table.weight

    def get_extra_state(self) -> int:
        """No tensor."""
        return 1


def test_layers_of_a_custom_model_hold_each_tensor_once() -> None:
    model = _Odd()
    layers = {layer.name: layer for layer in model_layers(model, CustomModel(name="m:f"))}
    assert list(layers) == ["attention", "own", "linear", "head"]
    tensors = [tensor for layer in layers.values() for tensor in layer.tensors]
    assert sorted(tensors) == sorted(set(model.state_dict()) - {"_extra_state"})
    first = layers["attention"].tensors
    assert {"token", "norm.weight", "table.weight", "head.weight", "again.in_proj_weight"} <= set(first)
    assert layers["head"].tensors == ("head.bias",)
    assert layers["own"].tensors == ("own.matrix",)
    assert {"behind.running_var", "other.weight"} < set(layers["linear"].tensors)
    assert [layer.output for layer in layers.values()] == ["attention", "own", "behind", "head"]


def test_a_model_without_layers_is_one_layer() -> None:
    model = nn.Module()
    model.scale = nn.Parameter(torch.ones(3))
    (layer,) = model_layers(model, CustomModel(name="m:f"))
    assert (layer.name, layer.tensors, layer.output) == ("model", ("scale",), "")
