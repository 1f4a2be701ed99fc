"""A first convolution that whitens: what its filters are, what they rest on, and that they stay."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from orchestrator.campaigns.preflight import check_campaign_fits
from tests.conftest import small_campaign
from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run
from workers.datasets import Dataset, load_dataset
from workers.errors import CampaignError
from workers.training import SequentialEngine, StackedEngine
from workers.training.device_data import DeviceData, load_on_device
from workers.training.whitening import whiten

CPU = torch.device("cpu")
MEMBERS = np.arange(3, 20)


def campaign_of(model: object) -> Campaign:
    return small_campaign(
        dataset={"name": "user_code:pictures"},
        model=model,
        recipe={
            "epochs": 2,
            "batch_size": 8,
            "optimizer": {"name": "sgd", "learning_rate": 0.05},
            "initialization": {"whitening": True},
        },
    )


AIRBENCH = campaign_of({"name": "airbench", "widths": [4, 6, 6]})


@pytest.fixture(scope="module")
def pictures() -> Dataset:
    return load_dataset(AIRBENCH.dataset)


def on_device(dataset: Dataset) -> DeviceData:
    return load_on_device(dataset, AIRBENCH, np.array(dataset.train_labels), CPU)


def whitened(data: DeviceData, size: int, members: np.ndarray = MEMBERS) -> nn.Conv2d:
    channels = data.input_shape[0]
    conv = nn.Conv2d(channels, 2 * channels * size * size, size)
    whiten(nn.Sequential(nn.Identity(), conv, nn.ReLU()), data, members)
    return conv


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_subsets_patches_have_covariance_one(pictures: Dataset, size: int) -> None:
    data = on_device(pictures)
    conv = whitened(data, size)
    images = data.scaled(data.train_images.select(torch.from_numpy(MEMBERS))).double()
    responses = F.conv2d(images, conv.weight.double())
    first, second = responses.transpose(0, 1).flatten(1).chunk(2)
    assert torch.equal(second, -first)
    covariance = first @ first.T / first.shape[1]
    variances = torch.diagonal(covariance)
    torch.testing.assert_close(covariance, torch.diag(variances), atol=1e-4, rtol=0)
    # Reference: NumPy's, of patches cut out one by one.
    height, width = images.shape[2] - size + 1, images.shape[3] - size + 1
    corners = [(y, x) for y in range(height) for x in range(width)]
    patches = np.array([each[:, y : y + size, x : x + size].ravel() for each in images.numpy() for y, x in corners])
    spectrum = np.linalg.eigvalsh(patches.T @ patches / len(patches))
    expected = spectrum / (spectrum + 5e-4 * spectrum.mean())
    np.testing.assert_allclose(np.sort(variances.numpy()), np.sort(expected), atol=1e-4)


def test_filters_depend_on_the_subset_alone(pictures: Dataset) -> None:
    data, changed = on_device(pictures), on_device(pictures)
    others = np.setdiff1d(np.arange(len(data.train_labels)), MEMBERS)
    changed.train_images.images = changed.train_images.images.clone()  # type: ignore[attr-defined]
    changed.train_images.images[others] = 0  # type: ignore[attr-defined]
    assert torch.equal(whitened(data, 2).weight, whitened(changed, 2).weight)
    assert not torch.equal(whitened(data, 2).weight, whitened(data, 2, MEMBERS[1:]).weight)


def test_training_leaves_the_filters_and_changes_the_biases(pictures: Dataset) -> None:
    data = on_device(pictures)
    alone = SequentialEngine().start(AIRBENCH, data, [Run(600_000, 1)])
    first = dict(alone.model.named_parameters())
    weight, bias = first["0.weight"].clone(), first["0.bias"].clone()
    alone.train_epoch()
    assert torch.equal(first["0.weight"], weight)
    assert not torch.equal(first["0.bias"], bias)
    stacked = StackedEngine(2).start(AIRBENCH, data, [Run(600_000, 0), Run(600_000, 1)])
    stacked.train_epoch()
    (filters,) = (value for name, value in stacked.state().tensors.items() if value.shape == (2, *weight.shape))
    assert torch.equal(filters[1], weight)
    assert not torch.equal(filters[0], weight)


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ({"name": "mlp"}, "the model must begin with a Conv2d, got Linear"),
        ({"name": "resnet9", "width": 4}, "must have 54 filters, two for each value of its patches, got 4"),
    ],
    ids=["linear", "width"],
)
def test_models_that_cannot_start_so(pictures: Dataset, model: dict[str, object], text: str) -> None:
    with pytest.raises(CampaignError) as caught:
        check_campaign_fits(campaign_of(model), pictures)
    assert str(caught.value).startswith("recipe.initialization.whitening: ")
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
