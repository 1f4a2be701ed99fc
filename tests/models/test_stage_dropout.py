"""Dropout behind the stages of a model: where it stands, and what it computes, against slow references."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from tests.conftest import small_campaign
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
from workers.campaign.stage_dropout import ExampleTied, SparseChannels, StageDropout, StandardDropout
from workers.errors import CampaignError, ModelError
from workers.models import build_model
from workers.models.stage_dropout import ExampleMasks, Mode, example_tied, set_mode, show_examples, stage_module
from workers.models.stages import find_stages, insert_stage_dropout

TIED = ExampleTied(name="example-tied", p_gen=0.25, p_mem=0.5)


@pytest.mark.parametrize(
    ("spec", "shape", "expected"),
    [
        (
            ResNet9(name="resnet9", width=4),
            (3, 16, 16),
            [("0.2", 4), ("1.2", 8), ("2", 8), ("3.2", 16), ("5", 16), ("6.2", 8)],
        ),
        (MLP(hidden=(6, 8)), (5,), [("2", 6), ("4", 8)]),
        (SmallCNN(name="small-cnn", width=4, hidden=9), (1, 8, 8), [("1", 4), ("4", 8), ("8", 9)]),
        (MNISTCNN(name="mnist-cnn"), (1, 16, 16), [("2", 10), ("6", 20), ("9", 50)]),
        (
            Airbench(name="airbench", widths=(4, 5, 6)),
            (1, 9, 9),
            [("1", 8), ("5", 4), ("8", 4), ("12", 5), ("15", 5), ("19", 6), ("22", 6)],
        ),
        (
            ResNet(name="resnet18"),
            (3, 8, 8),
            [("relu", 64), *((f"layer{i}.{j}", 32 << i) for i in range(1, 5) for j in range(2))],
        ),
        (ViT(name="vit", width=8, layers=2), (1, 8, 8), [(f"encoder.layers.encoder_layer_{i}", 8) for i in range(2)]),
        (SmallDataViT(name="vit-small-data", width=8, heads=2, layers=2), (1, 4, 4), [("3", 8), ("4", 8)]),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_stages(spec: ModelSpec, shape: tuple[int, ...], expected: list[tuple[str, int]]) -> None:
    """Each model's own, and dropout behind each changes neither weights nor their names."""
    torch.manual_seed(0)
    plain = build_model(spec, shape, 3)
    assert [(stage.name, stage.channels) for stage in find_stages(plain, "model", shape)] == expected
    torch.manual_seed(0)
    tied = build_model(spec.model_copy(update={"stage_dropout": TIED}), shape, 3)
    assert [(each.stage, each.channels) for each in example_tied(tied)] == [
        (number, channels) for number, (_, channels) in enumerate(expected)
    ]
    ours, theirs = tied.state_dict(), plain.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def slowly(x: torch.Tensor, on: torch.Tensor, generalization: float, memorization: float, axis: int) -> torch.Tensor:
    """One example and channel at a time; `on` bool[B, C] are generalization channels."""
    result = x.clone()
    for i in range(len(x)):
        for c in range(x.shape[axis]):
            result[i].select(0 if axis == 1 else -1, c).mul_(generalization if on[i, c] else memorization)
    return result


@pytest.mark.parametrize(
    ("shape", "axis"), [((5, 11, 2, 3), 1), ((5, 3, 11), -1), ((5, 11), 1), ((5, 11), -1)], ids=str
)
def test_modes_are_their_definitions(shape: tuple[int, ...], axis: int) -> None:
    """floor(0.25 x 11) = 2 generalization channels. In training the mask of each example, and no rescaling."""
    tied: Any = stage_module(TIED, 0, 11, axis)
    x, first = torch.randn(shape), (torch.arange(11) < 2).expand(5, 11)
    masks = torch.rand(40, 11) < 0.5
    packed = torch.nn.functional.pad(masks, (0, 5)).view(40, 2, 8).long() @ (1 << torch.arange(8))
    tied.masks = ExampleMasks(packed.to(torch.uint8), 11)
    with pytest.raises(RuntimeError, match="show_examples"):
        tied(x)
    examples = torch.tensor([3, 39, 0, 3, 17])
    show_examples([tied], examples)
    torch.testing.assert_close(tied(x), slowly(x, masks[examples], 1, 0, axis))
    assert torch.equal(copy.deepcopy(tied)(x), tied(x))
    tied.eval()
    expected: dict[Mode, torch.Tensor] = {
        "drop": slowly(x, first, (0.25 + 0.5) / 0.25, 0, axis),
        "scaled": slowly(x, first, 1, 0.5, axis),
        "own": slowly(x, masks[examples], 1, 0, axis),
    }
    torch.testing.assert_close(tied(x), expected["drop"])
    for mode, value in expected.items():
        set_mode(tied, mode)
        torch.testing.assert_close(tied(x), value)
        assert tied(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize(("factor", "value"), [("published", 3.0), ("exact", 2.5), ("none", 1.0), (1.7, 1.7)], ids=str)
def test_factors(factor: Any, value: float) -> None:
    assert ExampleTied(name="example-tied", p_gen=0.25, p_mem=0.5, factor=factor).factor_value == value


@pytest.mark.parametrize("axis", [1, -1])
def test_baselines(axis: int) -> None:
    """Whole channels, times 1 / keep: drawn anew for each example in training, or the same for all and always."""
    x = torch.ones((400, 10, 2) if axis == 1 else (400, 2, 10))
    standard = stage_module(StandardDropout(name="standard", keep=0.25), 0, 10, axis)
    channels = standard(x).movedim(axis, -1)
    assert torch.equal(channels[:, 0], channels[:, 1])
    assert set(channels.unique().tolist()) == {0.0, 4.0}
    assert 0.22 < (channels > 0).float().mean() < 0.28
    assert len(channels[:, 0].unique(dim=0)) > 100
    assert torch.equal(standard.eval()(x), x)
    sparse: Any = stage_module(SparseChannels(name="sparse", keep=0.29), 0, 100, axis)
    assert sparse.kept == 29, "0.29 x 100 is 28.999999999999996"
    sparse.mask = torch.randperm(100) < 29
    x = torch.rand((3, 100, 2) if axis == 1 else (3, 2, 100))
    expected = x.movedim(axis, -1) * sparse.mask / 0.29
    for training in (True, False):
        torch.testing.assert_close(sparse.train(training)(x).movedim(axis, -1), expected)


def shared() -> nn.Module:
    """One activation behind two layers."""
    relu = nn.ReLU()
    return nn.Sequential(nn.Linear(3, 4), relu, nn.Linear(4, 4), relu, nn.Linear(4, 2))


@pytest.mark.parametrize(
    ("model", "spec", "text"),
    [
        (nn.Linear(3, 2), TIED, "model.stage_dropout: m has no stage"),
        (nn.Sequential(nn.Linear(3, 2), nn.Sigmoid()), TIED, "model.stage_dropout: m has no stage"),
        (shared(), TIED, "model.stage_dropout: 1 of m is used 2 times"),
        (
            nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)),
            ExampleTied(name="example-tied", p_gen=0.2),
            "model.stage_dropout.p_gen: must leave a channel on, got 0.2 of the 4 channels of 1",
        ),
        (
            nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)),
            SparseChannels(name="sparse"),
            "model.stage_dropout.keep: must leave a channel on",
        ),
    ],
    ids=["linear", "activation-of-logits", "shared", "few", "sparse"],
)
def test_models_without_stages_or_channels(model: nn.Module, spec: StageDropout, text: str) -> None:
    with pytest.raises(ModelError) as caught:
        insert_stage_dropout(model, spec, "m", (3,))
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_of_the_users_own_has_stages() -> None:
    spec = CustomModel(name="user_code:dropout_model", options={"width": 8}, stage_dropout=TIED)
    assert [each.channels for each in example_tied(build_model(spec, (1, 8, 8), 3))] == [8]


def test_an_identity_has_stage_dropout_only_where_it_is_given() -> None:
    plain = small_campaign(model={"name": "mlp", "hidden": [8]})
    tied = small_campaign(model={"name": "mlp", "hidden": [8], "stage_dropout": {"name": "example-tied"}})
    assert "stage_dropout" not in str(plain._science(defaults=False))
    assert tied._science(defaults=False)["model"]["stage_dropout"] == {"name": "example-tied"}


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            {"name": "example-tie"},
            "model.stage_dropout.name: must be example-tied, standard, sparse, got 'example-tie'",
        ),
        ({"name": "example-tied", "p_gen": 0.0}, "model.stage_dropout.p_gen: must be greater than 0, got 0.0"),
        (
            {"name": "example-tied", "factor": "exac"},
            "model.stage_dropout.factor: must be 'published', 'exact' or 'none'",
        ),
        ({"name": "sparse", "p_mem": 0.1}, "model.stage_dropout.p_mem: unknown field"),
        ("sparse", "model.stage_dropout: must be a mapping, got 'sparse'"),
    ],
    ids=["name", "p_gen", "factor", "field", "text"],
)
def test_mistakes_are_named(given: object, text: str) -> None:
    with pytest.raises(CampaignError) as caught:
        small_campaign(model={"name": "mlp", "stage_dropout": given})
    assert text in str(caught.value)
