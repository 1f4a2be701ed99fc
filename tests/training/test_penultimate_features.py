"""The inputs of a model's head: for every built-in model, and for users' models that have none."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.conftest import small_campaign
from workers.campaign.keys import Run
from workers.campaign.model_spec import MLP, CustomModel, ModelSpec, ResNet, ResNet9, SmallCNN, ViT
from workers.datasets import Dataset, load_dataset
from workers.errors import LongtailError, ModelError
from workers.models import build_model
from workers.training import SequentialEngine
from workers.training.device_data import DeviceData, load_on_device
from workers.training.penultimate_features import check_head, head_inputs, train_and_extract_features
from workers.training.probes.gradients import GradientSums

WIDTHS: dict[str, tuple[ModelSpec, int]] = {
    "mlp": (MLP(hidden=(9, 5)), 5),
    "linear": (MLP(hidden=()), 3 * 12 * 12),
    "small-cnn": (SmallCNN(name="small-cnn", width=2, hidden=6), 6),
    "resnet9": (ResNet9(name="resnet9", width=2), 4),
    "resnet18": (ResNet(name="resnet18"), 512),
    "resnet50": (ResNet(name="resnet50"), 2048),
    "vit": (ViT(name="vit", layers=1, heads=2, width=8, dropout=0.5), 8),
}
"""Models, and the width of each one's last hidden layer."""


def images(count: int, num_classes: int, **parts: object) -> DeviceData:
    """Random coloured images on the CPU."""
    random = np.random.default_rng(0)
    labels = np.arange(count) % num_classes
    pixels = random.integers(0, 256, (count, 3, 12, 12), dtype=np.uint8)
    names = tuple(map(str, range(num_classes)))
    dataset = Dataset(pixels, labels, pixels[:3], labels[:3], names)
    return load_on_device(dataset, small_campaign(**parts), labels, torch.device("cpu"))


@pytest.mark.slow
@pytest.mark.parametrize("name", WIDTHS)
def test_every_built_in_model_has_a_head(name: str) -> None:
    """Its inputs give the logits: through the head, and for the ResNet-9 a constant factor."""
    torch.manual_seed(0)
    spec, width = WIDTHS[name]
    data, model = images(6, 4), build_model(spec, (3, 12, 12), 4)
    check_head(spec, (3, 12, 12), 4)
    features = head_inputs(model, data)
    assert features.shape == (6, width)
    head = [module for module in model.modules() if type(module) is nn.Linear][-1]
    with torch.no_grad():
        logits = model(data.scaled(data.train_images.select(torch.arange(6))))
        torch.testing.assert_close(head(features) * (0.2 if name == "resnet9" else 1), logits, rtol=1e-4, atol=1e-5)


class Named(nn.Module):
    """Calls its head with a named argument; leaves out an average over pixels where told to."""

    def __init__(self, averaged: bool, times: int = 1) -> None:
        super().__init__()
        self.averaged, self.times = averaged, times
        self.layer, self.head = nn.Conv2d(3, 7, 3), nn.Linear(7, 4)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.layer(x).flatten(2).transpose(1, 2)
        if self.averaged:
            hidden = hidden.mean(dim=1)
        logits = [self.head(input=hidden) for _ in range(self.times)] or [hidden[:, :4]]
        return logits[0] if self.averaged else logits[0].mean(dim=1)


def test_examples_keep_their_order_over_batches() -> None:
    data, model = images(4100, 4), Named(averaged=True)
    whole = head_inputs(model, data)
    scaled = data.scaled(data.train_images.select(torch.arange(4100)))
    with torch.no_grad():
        torch.testing.assert_close(whole, model.layer(scaled).mean(dim=(2, 3)))
    assert not model.training
    assert (head_inputs(model, data, "bfloat16") - whole).abs().max() < 0.05


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (nn.Conv2d(3, 4, 12), "must have a last linear layer of 4 outputs to have a head, it has none"),
        (nn.Linear(12, 5), "of 4 outputs to have a head, its last one has 5"),
        (Named(averaged=False), r"must get one vector \[7\] for each example to be a head, got \[6, 100, 7\] for 6"),
        (Named(averaged=True, times=2), r"got \[6, 7\] and \[6, 7\] for 6 examples"),
        (Named(averaged=True, times=0), "got nothing for 6 examples"),
    ],
)
def test_models_without_a_head_are_told_in_one_line(model: nn.Module, text: str) -> None:
    with pytest.raises(ModelError, match=f"^model: .*{text}"):
        head_inputs(model, images(6, 4))


def test_a_users_model_is_checked_before_it_trains() -> None:
    spec = CustomModel(name="user_code:headless_model")
    before = torch.get_rng_state()
    with pytest.raises(ModelError, match="must have a last linear layer of 10 outputs"):
        check_head(spec, (1, 8, 8), 10)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.slow
def test_a_run_is_trained_again_as_it_was() -> None:
    """By itself, the same bits."""
    campaign = small_campaign(recipe={"epochs": 3, "batch_size": 32})
    digits = load_dataset(campaign.dataset)
    data, run = load_on_device(digits, campaign, digits.train_labels, torch.device("cpu")), Run(600_000, 2)
    (trained,) = SequentialEngine().train(campaign, data, [run])
    epochs: list[tuple[int, int]] = []
    again = train_and_extract_features(campaign, data, run, on_epoch=lambda *now: epochs.append(now))
    np.testing.assert_array_equal(again.train_correct, trained.epochs[-1].train_correct)
    assert trained.epochs[-1].train_correct.mean() > 0.5
    assert (again.features.shape, epochs) == ((1437, 8), [(1, 3), (2, 3), (3, 3)])
    torch.manual_seed(99)
    assert torch.equal(again.features, train_and_extract_features(campaign, data, run).features)
    other = train_and_extract_features(campaign, data, Run(600_000, 1)).features
    assert not torch.equal(again.features, other)


def test_no_probe_measures_a_run_that_is_trained_again(monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = small_campaign(recipe={"epochs": 1, "batch_size": 512}, record={"probes": {"gradients": True}})
    digits = load_dataset(campaign.dataset)
    data = load_on_device(digits, campaign, digits.train_labels, torch.device("cpu"))
    monkeypatch.delattr(GradientSums, "add")
    assert train_and_extract_features(campaign, data, Run(600_000, 0)).features.shape == (1437, 8)
    with pytest.raises(AttributeError, match="add"):
        SequentialEngine().start(campaign, data, [Run(600_000, 0)]).train_epoch()


def test_a_diverged_model_has_no_hidden_layer() -> None:
    campaign = small_campaign(
        model={"name": "mlp", "hidden": [32, 32, 32]},
        recipe={"epochs": 2, "batch_size": 32, "optimizer": {"name": "sgd", "learning_rate": 1e6}},
    )
    digits = load_dataset(campaign.dataset)
    data = load_on_device(digits, campaign, digits.train_labels, torch.device("cpu"))
    with pytest.raises(LongtailError, match=r"the last hidden layer of run r600000-000000 is not finite"):
        train_and_extract_features(campaign, data, Run(600_000, 0))
