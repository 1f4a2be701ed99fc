"""Stacks: the same function as the models one at a time, or a reason why not."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from workers.campaign.model_spec import (
    MLP,
    MNISTCNN,
    Airbench,
    DenseNet,
    Inception,
    ModelSpec,
    ResNet,
    ResNet9,
    SmallCNN,
    ViT,
    WideResNet,
)
from workers.models import build_model
from workers.models.stacking import NotStackableError, StackedModel, unstackable_reason
from workers.models.stacking.layers import StackedConv, channels_to_models, models_to_channels

Build = Callable[[], nn.Module]


def redrawn(build: Build) -> Build:
    """`build` with every weight random, so that no two models agree by their initialisation."""

    def draw() -> nn.Module:
        model = build()
        for parameter in model.parameters():
            nn.init.uniform_(parameter, 0.1, 0.5)
        return model

    return draw


def everything() -> nn.Module:
    """Every layer that has a stacked form, in one model of [2, 4, 6] inputs."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, stride=(1, 2), groups=2),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 6, 1, bias=False),
        nn.GroupNorm(3, 6),
        nn.GELU(),
        nn.MaxPool2d(2),
        nn.Flatten(2),
        nn.Conv1d(6, 4, 1),
        nn.BatchNorm1d(4, affine=False),
        nn.LayerNorm(2),
        nn.Unflatten(2, (1, 2, 1)),
        nn.Conv3d(4, 3, (1, 2, 1)),
        nn.BatchNorm3d(3, track_running_stats=False),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.LayerNorm(3, bias=False),
        nn.Linear(3, 5, bias=False),
        nn.BatchNorm1d(5),
        nn.Linear(5, 3),
    )


def specified(spec: ModelSpec, shape: tuple[int, ...]) -> Build:
    return lambda: build_model(spec, shape, 10)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (everything, (2, 4, 6)),
        (specified(MLP(), (1, 8, 8)), (1, 8, 8)),
        (specified(SmallCNN(name="small-cnn", width=4, hidden=8), (1, 8, 8)), (1, 8, 8)),
        (specified(MNISTCNN(name="mnist-cnn"), (1, 28, 28)), (1, 28, 28)),
        (specified(ResNet9(name="resnet9", width=4), (3, 16, 16)), (3, 16, 16)),
        (specified(Airbench(name="airbench", widths=(4, 6, 8)), (3, 10, 12)), (3, 10, 12)),
        (specified(ResNet(name="resnet18"), (3, 8, 8)), (3, 8, 8)),
        (specified(DenseNet(name="densenet", depth=10, growth=3), (3, 8, 8)), (3, 8, 8)),
        (specified(Inception(name="inception", width=2), (3, 8, 8)), (3, 8, 8)),
        (specified(WideResNet(name="wide-resnet", depth=10, width=1), (3, 8, 8)), (3, 8, 8)),
    ],
    ids=[
        "everything",
        "mlp",
        "small-cnn",
        "mnist-cnn",
        "resnet9",
        "airbench",
        "resnet18",
        "densenet",
        "inception",
        "wide-resnet",
    ],
)
def test_stacks_compute_what_their_models_do(build: Build, shape: tuple[int, ...]) -> None:
    assert unstackable_reason(redrawn(build), shape) is None


def test_gradients_are_those_of_the_models_one_at_a_time() -> None:
    torch.manual_seed(0)
    models = [redrawn(everything)() for _ in range(3)]
    stack = StackedModel(models)
    for module in [*stack.layers, *(part for model in models for part in model.modules())]:
        if type(module).__name__.endswith("Dropout"):
            module.eval()
    images = torch.rand(3 * 4, 2, 4, 6)
    weights = torch.rand(12, 3)
    (stack(images) * weights).sum().backward()
    for model, part, weight in zip(models, images.chunk(3), weights.chunk(3), strict=True):
        (model(part) * weight).sum().backward()
    apart = {
        name: [dict(model.named_parameters())[name].grad for model in models]
        for name, _ in models[0].named_parameters()
    }
    together = {name: parameter.grad for name, parameter in stack.training_graph.named_parameters()}
    assert together.keys() == apart.keys()
    largest = max(gradient.abs().max() for gradient in together.values() if gradient is not None)
    for name, gradients in apart.items():
        expected = torch.stack([gradient for gradient in gradients if gradient is not None])
        torch.testing.assert_close(together[name], expected, rtol=1e-3, atol=1e-4 * float(largest))


@pytest.mark.parametrize("shape", [(6, 4, 7), (6, 4, 7, 5), (6, 4, 3, 2, 2)], ids=str)
def test_grouped_convolutions_are_the_single_ones(shape: tuple[int, ...]) -> None:
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(shape) - 3]
    stacked = StackedConv([kind(4, 6, 2, groups=2) for _ in range(3)])
    x = torch.rand(shape)
    torch.testing.assert_close(
        stacked.grouped(x, stacked.weight, stacked.bias), stacked.one_by_one(x, stacked.weight, stacked.bias)
    )


def test_models_and_channels_change_places() -> None:
    x = torch.rand(6, 4, 5)
    wide = models_to_channels(x, 3)
    assert wide.shape == (2, 12, 5)
    assert torch.equal(wide[1, 4:8], x[3])
    assert torch.equal(channels_to_models(wide, 3), x)


def test_each_model_has_its_own_dropout() -> None:
    stack = StackedModel([nn.Sequential(nn.Dropout(0.5)) for _ in range(2)])
    stack.train(True)

    def masks(*seeds: int) -> torch.Tensor:
        stack.draw_from([torch.Generator().manual_seed(seed) for seed in seeds])
        return stack(torch.ones(2 * 200, 10)).view(2, -1)

    first, again, other = masks(1, 2), masks(1, 3), masks(1, 2)
    assert torch.equal(first, other)
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[1], again[1])
    assert set(first.unique().tolist()) == {0.0, 2.0}
    assert 0.45 < (first == 0).float().mean() < 0.55
    stack.train(False)
    assert torch.equal(stack(torch.ones(4, 10)), torch.ones(4, 10))


class _Linear(nn.Module):
    """Base of what users write."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 3)


class _Mixing(_Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x - x.mean(dim=0))


class _Drawing(_Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(nn.functional.dropout(x, 0.5, self.training))


class _Branching(_Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x if x.sum() > 0 else -x)


class _OwnWeight(_Linear):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) * self.scale


class _OwnConstant(_Linear):
    mean: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((5,), 0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x - self.mean).view(x.size(0), -1)


class _Reused(_Linear):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(5, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(torch.relu(self.inner(torch.relu(self.inner(x)))))


class _Tied(_Linear):
    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(5, 3)
        self.other.weight = self.linear.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) + self.other(x)


def hooked() -> nn.Module:
    layer = nn.Linear(5, 3)
    layer.register_forward_hook(lambda module, inputs, output: output + 1)
    return nn.Sequential(layer)


class _DrawingOnce(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.linear(inputs) + 0.01 * torch.rand(1)


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (_DrawingOnce, "forward makes a tensor of its own"),
        (_Mixing, "cannot be batched across models: outputs differ"),
        (_Drawing, "interact or forward draws random numbers"),
        (
            _Branching,
            "torch.fx cannot trace it: TraceError: symbolically traced variables cannot be used as inputs",
        ),
        (_OwnWeight, "scale is a parameter that is used outside of a standard layer"),
        (_OwnConstant, None),
        (_Reused, None),
        (_Tied, "other.weight and linear.weight are one parameter"),
        (hooked, "0 has hooks"),
        (lambda: nn.Sequential(nn.Linear(5, 3), nn.Embedding(3, 3)), "1 is Embedding, which has weights"),
        (lambda: nn.Sequential(nn.Linear(5, 3), nn.PReLU()), "1 is PReLU, which has weights and no stacked form"),
        (lambda: nn.Sequential(nn.AlphaDropout(), nn.Linear(5, 3)), "0 is AlphaDropout, which draws random numbers"),
        (lambda: nn.Sequential(nn.RReLU(), nn.Linear(5, 3)), "0 is RReLU, which draws random numbers"),
        (lambda: nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3, momentum=None)), "1 has no momentum"),
        (lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(5, 3))), "has weights and no stacked"),
        (lambda: nn.Linear(5, 3), None),
        (lambda: nn.Sequential(nn.Linear(5, 3, dtype=torch.float64)), "0.weight is torch.float64, only float32"),
    ],
)
def test_what_cannot_be_stacked_is_told_why(build: Build, reason: str | None) -> None:
    found = unstackable_reason(redrawn(build), (5,))
    assert (found is None) if reason is None else (found is not None and reason in found)


def test_a_vision_transformer_is_told_why() -> None:
    spec = ViT(name="vit", layers=1, heads=2, width=8)
    assert unstackable_reason(specified(spec, (3, 8, 8)), (3, 8, 8)) == (
        "class_token is a parameter that is used outside of a standard layer"
    )
    with pytest.raises(NotStackableError):
        StackedModel([build_model(spec, (3, 8, 8), 10)])


def test_stacking_leaves_the_models_alone() -> None:
    model = everything().eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    stack = StackedModel([model, everything()])
    stack.train(True)
    stack.draw_from([torch.Generator(), torch.Generator()])
    stack(torch.rand(8, 2, 4, 6)).sum().backward()
    assert not any(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_convolutions_on_a_cpu_put_channels_last(count: int, channels: int) -> None:
    """Of one channel, too, where images do not tell; what follows is several times slower otherwise."""
    models = [nn.Sequential(nn.Conv2d(channels, 4, 3), nn.Conv2d(4, 2, 3)) for _ in range(count)]
    stack = StackedModel(models)
    out = stack(torch.rand(count * 5, channels, 8, 8))
    assert out.shape == (count * 5, 2, 4, 4)
    assert out.stride() == (2 * 4 * 4, 1, 2 * 4, 2)
    images = torch.rand(5, channels, 8, 8)
    apart = torch.stack([model(images) for model in models])
    torch.testing.assert_close(stack(images.repeat(count, 1, 1, 1)).view(apart.shape), apart)
