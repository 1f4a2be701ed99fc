"""Models: shapes, what is refused, and that checking a model changes nothing."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

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
from workers.models import build_model, check_output

RESNET9_SIZE = (
    9 * (3 * 64 + 2 * 128 * 128 + 128 * 256 + 2 * 256 * 256 + 256 * 128)  # 3 x 3 convolutions
    + 25 * 64 * 128  # the 5 x 5 convolution
    + 2 * (64 + 3 * 128 + 3 * 256 + 128)  # batch normalisation
    + 128 * 10
)
INCEPTION_SCALES = 96 + (64 + 80) + 80 + (160 + 160 + 160 + 144) + 96 + (336 + 336)
"""Of batch norms, one for each channel; the paper's have none, and 1,649,402 parameters (its table 1)."""
AIRBENCH_SIZE = (
    24 * (12 + 1)  # the 2 x 2 convolution
    + 9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256)  # 3 x 3 convolutions
    + 2 * 2 * (64 + 256 + 256)  # batch normalisation
    + 256 * 10
)
SMALL_VIT = ViT(name="vit", layers=1, heads=2, width=8)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        (MLP(), (1, 28, 28)),
        (MLP(hidden=()), (7,)),
        (MLP(hidden=(5,)), (2, 3, 4, 5)),
        (SmallCNN(name="small-cnn"), (1, 4, 4)),
        (SmallCNN(name="small-cnn", width=4, hidden=8), (5, 9, 7)),
        (MNISTCNN(name="mnist-cnn"), (1, 28, 28)),
        (MNISTCNN(name="mnist-cnn", dropout=0.0), (3, 16, 19)),
        (ResNet9(name="resnet9", width=4), (3, 32, 32)),
        (ResNet9(name="resnet9", width=4), (1, 11, 12)),
        (Airbench(name="airbench", widths=(4, 6, 8)), (3, 32, 32)),
        (Airbench(name="airbench", widths=(8, 4, 4)), (1, 9, 12)),
        (ResNet(name="resnet18"), (1, 8, 8)),
        (ResNet(name="resnet18"), (4, 33, 33)),
        (ResNet(name="resnet50"), (3, 16, 16)),
        (Inception(name="inception", width=1), (1, 4, 7)),
        (SMALL_VIT, (3, 8, 8)),
        (SmallDataViT(name="vit-small-data", layers=1, heads=2, width=8, hidden=4), (3, 8, 8)),
        (SMALL_VIT, (1, 28, 28)),
    ],
    ids=lambda value: getattr(value, "name", None) or "x".join(map(str, value)),
)
def test_every_family_maps_its_input_to_one_logit_per_class(spec: ModelSpec, shape: tuple[int, ...]) -> None:
    model = build_model(spec, shape, 7)
    check_output(model, shape, 7)
    assert model.training
    loss = nn.functional.cross_entropy(model(torch.rand(2, *shape)), torch.tensor([0, 6]))
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "shape", "classes", "count"),
    [
        (MLP(), (1, 28, 28), 10, 784 * 512 + 512 + 512 * 256 + 256 + 256 * 10 + 10),
        (ResNet(name="resnet18"), (3, 32, 32), 10, 11_173_962),
        (ResNet(name="resnet50"), (3, 224, 224), 1000, 25_557_032),
        (ResNet9(name="resnet9"), (3, 32, 32), 10, RESNET9_SIZE),
        (DenseNet(name="densenet"), (3, 32, 32), 10, 769_162),
        (Inception(name="inception"), (3, 28, 28), 10, 1_649_402 + INCEPTION_SCALES),
        (WideResNet(name="wide-resnet"), (3, 32, 32), 10, 36_479_194),
        (Airbench(name="airbench", widths=(64, 256, 256)), (3, 32, 32), 10, AIRBENCH_SIZE),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_sizes_are_the_published_ones(spec: ModelSpec, shape: tuple[int, ...], classes: int, count: int) -> None:
    assert parameters(build_model(spec, shape, classes)) == count


@pytest.mark.slow
def test_large_images_keep_the_stem_of_imagenet() -> None:
    small: Any = build_model(ResNet(name="resnet18"), (3, 64, 64), 2)
    large: Any = build_model(ResNet(name="resnet18"), (3, 65, 65), 2)
    assert (small.conv1.kernel_size, small.conv1.stride) == ((3, 3), (1, 1))
    assert isinstance(small.maxpool, nn.Identity)
    assert (large.conv1.kernel_size, large.conv1.stride) == ((7, 7), (2, 2))
    assert isinstance(large.maxpool, nn.MaxPool2d)


@pytest.mark.parametrize("spec", [MLP(), ResNet9(name="resnet9", width=2), SMALL_VIT], ids=lambda spec: spec.name)
def test_torchs_seed_decides_the_weights(spec: ModelSpec) -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return nn.utils.parameters_to_vector(build_model(spec, (1, 12, 12), 3).parameters())

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


@pytest.mark.parametrize(
    ("spec", "shape", "text"),
    [
        (SmallCNN(name="small-cnn"), (64,), "model small-cnn: needs images [C, H, W], got inputs of shape [64]"),
        (MNISTCNN(name="mnist-cnn"), (1, 15, 28), "needs images of at least 16 x 16 pixels, got 28 x 15"),
        (SmallCNN(name="small-cnn"), (1, 3, 8), "needs images of at least 4 x 4 pixels, got 8 x 3"),
        (ResNet9(name="resnet9"), (1, 8, 8), "model resnet9: needs images of at least 11 x 11 pixels, got 8 x 8"),
        (Airbench(name="airbench"), (1, 8, 9), "model airbench: needs images of at least 9 x 9 pixels, got 9 x 8"),
        (ResNet(name="resnet18"), (3, 8), "model resnet18: needs images [C, H, W]"),
        (ViT(name="vit"), (3, 8, 12), "must divide the side of square images, got 4 for 12 x 8 pixels"),
        (ViT(name="vit", patch_size=5), (3, 8, 8), "model.patch_size: must divide"),
        (ViT(name="vit", width=10), (3, 8, 8), "model.width: must be a multiple of heads (4), got 10"),
        (SmallDataViT(name="vit-small-data"), (3, 9, 9), "model.patch_size: must divide the side of square images"),
        (
            SmallDataViT(name="vit-small-data", width=9),
            (3, 8, 8),
            "model.width: must be a multiple of heads (8)",
        ),
    ],
)
def test_inputs_that_do_not_suit_a_model(spec: ModelSpec, shape: tuple[int, ...], text: str) -> None:
    with pytest.raises(ModelError) as caught:
        build_model(spec, shape, 10)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


USER_MODULE = """
import torch
from torch import nn

class Restless(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2).eval()
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        self.count += 1
        return self.norm(self.layer(x)) + torch.rand(2)

def restless(input_shape, num_classes):
    return Restless()

def linear(input_shape, num_classes, outputs=None, bias=True):
    return nn.Linear(input_shape[0], outputs or num_classes, bias=bias)

def number(input_shape, num_classes):
    return 3

def shapeless():
    return 3

class Raises(nn.Module):
    def forward(self, x):
        raise KeyError("mine")

class Pair(nn.Module):
    def forward(self, x):
        return x, x

class Integers(nn.Module):
    def forward(self, x):
        return x.long()

def make(input_shape, num_classes, kind):
    return globals()[kind]()
"""


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "user_models.py").write_text(USER_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("user_models", None)


def custom(function: str, **options: Any) -> nn.Module:
    return build_model(CustomModel(name=f"user_models:{function}", options=options), (3,), 2)


@pytest.mark.usefixtures("user_module")
def test_a_function_of_the_user_gets_shape_classes_and_options() -> None:
    model = custom("linear", bias=False)
    assert isinstance(model, nn.Linear)
    assert (model.in_features, model.out_features) == (3, 2) and model.bias is None


@pytest.mark.usefixtures("user_module")
def test_functions_that_build_no_model() -> None:
    with pytest.raises(ModelError, match=r"user_models:number: must return a torch.nn.Module, got int"):
        custom("number")
    with pytest.raises(ModelError, match=r"user_models has no liner \(did you mean linear\?\)"):
        custom("liner")
    with pytest.raises(
        ModelError, match=r"user_models:linear: options: must be outputs, bias, got 'output' \(did you mean outputs\?\)"
    ):
        custom("linear", output=3)
    with pytest.raises(ModelError, match=r"user_models:linear: options: must be outputs, bias, got 'input_shape'$"):
        custom("linear", input_shape=3)
    with pytest.raises(ModelError, match=r"user_models:make: options: kind must be given"):
        custom("make")
    with pytest.raises(ModelError, match=r"user_models:shapeless: must take 2 arguments and its options: too many"):
        custom("shapeless")


@pytest.mark.usefixtures("user_module")
@pytest.mark.parametrize(
    ("function", "options", "text"),
    [
        ("linear", {"outputs": 5}, r"logits \[2, 2\] for 2 inputs of shape \[3\], got torch.float32 \[2, 5\]"),
        ("make", {"kind": "Pair"}, r"must return a tensor \[B, 2\] of logits, got tuple"),
        ("make", {"kind": "Integers"}, r"got torch.int64 \[2, 3\]"),
    ],
)
def test_outputs_that_are_no_logits(function: str, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ModelError, match=text):
        check_output(custom(function, **options), (3,), 2)


@pytest.mark.usefixtures("user_module")
def test_checking_changes_neither_model_nor_random_numbers() -> None:
    model = custom("restless")
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    check_output(model, (3,), 2)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == [True, True, False]


@pytest.mark.usefixtures("user_module")
def test_what_a_users_model_raises_passes_through() -> None:
    with pytest.raises(KeyError, match="mine"):
        check_output(custom("make", kind="Raises"), (3,), 2)


def test_torchvisions_own_stem_on_small_images() -> None:
    """As Maini et al. trained ResNet-50: 7 x 7 with stride 2, and pooling."""
    model: Any = build_model(ResNet(name="resnet18", stem="imagenet"), (3, 32, 32), 10)
    assert (model.conv1.kernel_size, model.conv1.stride) == ((7, 7), (2, 2))
    assert isinstance(model.maxpool, nn.MaxPool2d)
