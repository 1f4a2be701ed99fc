"""Training: schedules, initialisation, augmentation, and the engine's determinism and statistics."""

import dataclasses
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.conftest import small_campaign
from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run
from workers.campaign.lr_schedule import rate_factor, steps_per_epoch
from workers.campaign.recipe import Augmentation, Initialization, Recipe
from workers.datasets import Dataset, load_dataset
from workers.errors import CampaignError
from workers.store import RunResult
from workers.subsets.draw import Purpose, draw_subset, generator, given_labels, integer_seed
from workers.training import SequentialEngine
from workers.training.augmentation import augment, draw_changes
from workers.training.device_data import DeviceData, load_on_device
from workers.training.initialization import initialize
from workers.training.minibatch_streams import MinibatchStreams

CPU = torch.device("cpu")


def recipe(epochs: int = 4, **parts: object) -> Recipe:
    return Recipe.model_validate({"epochs": epochs, "batch_size": 8, **parts})


def factors(schedule: dict[str, object], epochs: int = 4, steps: int = 5) -> list[float]:
    planned = recipe(epochs, schedule=schedule)
    return [rate_factor(planned, step, steps) for step in range(epochs * steps)]


def test_one_cycle_is_pytorchs() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=20)
    expected = []
    for _ in range(20):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    assert factors({"name": "one-cycle"}) == pytest.approx(expected, rel=1e-9)


def test_triangular_is_the_datamodels_interpolation() -> None:
    expected = np.interp(np.arange(20), [0, 1.5 * 5, 4 * 5], [0, 1, 0])
    assert factors({"name": "triangular", "peak_epoch": 1.5}) == pytest.approx(expected)
    assert factors({"name": "triangular", "peak_epoch": 0}) == pytest.approx(1 - np.arange(20) / 20)
    assert factors({"name": "triangular", "peak_epoch": 4}) == pytest.approx(np.arange(20) / 20)


def test_step_and_cosine_and_constant() -> None:
    stepped = factors({"name": "step", "milestones": [1, 3], "factor": 0.5})
    assert stepped == [1.0] * 5 + [0.5] * 10 + [0.25] * 5
    cosine = factors({"name": "cosine", "warmup_epochs": 1, "final": 0.1})
    assert cosine[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert cosine[5:] == pytest.approx([0.1 + 0.9 * (1 + math.cos(math.pi * s / 15)) / 2 for s in range(15)])
    assert factors({"name": "constant"}) == [1.0] * 20


@given(
    schedule=st.sampled_from(
        [
            {"name": "one-cycle", "peak": 0.01},
            {"name": "one-cycle", "peak": 0.99},
            {"name": "cosine", "warmup_epochs": 0.3},
            {"name": "triangular", "peak_epoch": 0.5},
        ]
    ),
    epochs=st.integers(1, 3),
    steps=st.integers(1, 4),
)
def test_no_schedule_leaves_its_range(schedule: dict[str, object], epochs: int, steps: int) -> None:
    assert all(0 <= factor <= 1 + 1e-12 for factor in factors(schedule, epochs, steps))


def test_steps_keep_or_drop_the_last_minibatch() -> None:
    assert steps_per_epoch(recipe(), 17) == 3
    assert steps_per_epoch(recipe(drop_last=True), 17) == 2
    assert steps_per_epoch(recipe(drop_last=True), 7) == 0


def test_glorot_normal_is_cut_at_two_deviations_and_keeps_its_variance() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(400, 600)
    initialize(layer, Initialization(weights="glorot-normal", bias_std=0.01))
    std = math.sqrt(2 / 1000)
    assert layer.weight.std().item() == pytest.approx(std, rel=0.01)
    assert layer.weight.abs().max().item() <= 2 * std / 0.879
    assert layer.bias.std().item() == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize("weights", ["glorot-uniform", "kaiming-normal", "kaiming-uniform"])
def test_other_initialisations_reach_convolutions(weights: str) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(32, 64, 3)
    initialize(layer, Initialization.model_validate({"weights": weights, "bias_std": 0.0}))
    expected = math.sqrt(2 / (32 * 9 + 64 * 9)) if weights == "glorot-uniform" else math.sqrt(2 / (32 * 9))
    assert layer.weight.std().item() == pytest.approx(expected, rel=0.02)
    assert layer.bias is not None and torch.count_nonzero(layer.bias) == 0


def numbered_images(batch: int = 64, side: int = 6) -> torch.Tensor:
    """Images [B, 2, side, side] whose pixels all differ and are greater than 0."""
    return torch.arange(1.0, 2 * side * side + 1).reshape(1, 2, side, side).repeat(batch, 1, 1, 1)


def draws(how: Augmentation) -> torch.Tensor:
    fill = torch.full((2, 1, 1), -1.0)
    images = numbered_images()
    changes = draw_changes(how, images.shape[1:], len(images), np.random.default_rng(0))
    assert changes is not None
    return augment(images, how, fill, torch.from_numpy(changes))


def test_flip_mirrors_about_half_of_the_images() -> None:
    image = numbered_images(1)[0]
    mirrored = [torch.equal(drawn, image.flip(-1)) for drawn in draws(Augmentation(flip=True))]
    kept = [torch.equal(drawn, image) for drawn in draws(Augmentation(flip=True))]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 15 < sum(mirrored) < 49


def test_translate_shifts_each_image_on_its_own_and_fills() -> None:
    image = numbered_images(1)[0]
    padded = torch.full((2, 10, 10), -1.0)
    padded[:, 2:8, 2:8] = image
    shifts = {(y, x): padded[:, y : y + 6, x : x + 6] for y in range(5) for x in range(5)}
    found = [
        next(shift for shift, expected in shifts.items() if torch.equal(drawn, expected))
        for drawn in draws(Augmentation(translate=2))
    ]
    assert len(set(found)) > 15


def test_cutout_blanks_one_square_inside() -> None:
    for drawn in draws(Augmentation(cutout=3)):
        blank = (drawn == -1).all(dim=0)
        rows, columns = blank.any(dim=1).nonzero().flatten(), blank.any(dim=0).nonzero().flatten()
        assert blank.sum() == 9
        assert len(rows) == len(columns) == 3


@pytest.fixture(scope="module")
def digits() -> Dataset:
    """The digits."""
    return load_dataset(small_campaign().dataset)


def on_device(campaign: Campaign, dataset: Dataset) -> DeviceData:
    labels = given_labels(campaign, np.array(dataset.train_labels), dataset.num_classes)
    return load_on_device(dataset, campaign, labels, CPU)


def train(campaign: Campaign, dataset: Dataset, *runs: Run) -> list[RunResult]:
    return SequentialEngine().train(campaign, on_device(campaign, dataset), runs)


def told(results: list[RunResult]) -> list[object]:
    """All of the results that must be reproducible."""
    return [
        (r.run, r.status, r.subset.tobytes(), [(e.epoch, e.train_loss, e.train_correct.tobytes()) for e in r.epochs])
        for r in results
    ]


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"recipe": {"epochs": 1, "batch_size": 64, "optimizer": {"name": "adamw"}, "label_smoothing": 0.1}},
        {
            "model": {"name": "small-cnn", "width": 4, "hidden": 8},
            "recipe": {"epochs": 1, "batch_size": 256, "augmentation": {"flip": True, "translate": 1, "cutout": 2}},
        },
        {"model": {"name": "user_code:dropout_model", "options": {"width": 8}}},
    ],
    ids=["mlp", "adamw", "augmented-cnn", "dropout"],
)
def test_a_run_depends_on_its_key_alone(parts: dict[str, object], digits: Dataset) -> None:
    campaign = small_campaign(**parts)
    runs = [Run(200_000, 0), Run(600_000, 2), Run(600_000, 1)]
    together = told(train(campaign, digits, *runs))
    torch.manual_seed(123)
    torch.rand(7)
    apart = [told(train(campaign, digits, run))[0] for run in reversed(runs)]
    assert together == apart[::-1]
    assert len({repr(result) for result in together}) == 3


def test_an_epoch_drawn_ahead_is_the_next_one() -> None:
    campaign = small_campaign(
        dataset={"name": "user_code:pictures"},
        model={"name": "small-cnn"},
        recipe={"epochs": 3, "batch_size": 8, "augmentation": {"flip": True, "translate": 1}},
    )
    data = on_device(campaign, load_dataset(campaign.dataset))
    plain, ahead = (MinibatchStreams(campaign, data, Run(600_000, 1)) for _ in range(2))
    for _ in range(2):
        before = ahead.state()
        ahead.draw_ahead()
        ahead.draw_ahead()
        assert ahead.state() == before == plain.state()
        for mine, theirs in zip(ahead.next_epoch(), plain.next_epoch(), strict=True):
            assert mine is not None
            assert theirs is not None
            np.testing.assert_array_equal(mine, theirs)
    before, expected = ahead.state(), ahead.next_epoch()
    ahead.draw_ahead()
    ahead.restore(before, epoch=2)
    np.testing.assert_array_equal(ahead.next_epoch()[0], expected[0])
    assert ahead.state() != before


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        {"name": "small-cnn", "width": 4},
        {"name": "resnet9", "width": 4},
        {"name": "airbench", "widths": [4, 8, 8]},
        {"name": "resnet18"},
        {"name": "vit", "layers": 2, "width": 16, "heads": 2, "dropout": 0.1},
    ],
    ids=lambda model: model["name"],
)
def test_every_architecture_trains_and_repeats(model: dict[str, object]) -> None:
    campaign = small_campaign(
        dataset={"name": "user_code:pictures"},
        model=model,
        recipe={
            "epochs": 6,
            "batch_size": 8,
            "drop_last": True,
            "optimizer": {"name": "adamw", "learning_rate": 0.003},
            "augmentation": {"flip": True, "translate": 1},
            "input_scaling": "standardize",
            "initialization": {"whitening": model["name"] == "airbench"},
            "evaluation_flip": True,
        },
    )
    dataset = load_dataset(campaign.dataset)
    first, again = (train(campaign, dataset, Run(800_000, 0)) for _ in range(2))
    assert told(first) == told(again)
    assert first[0].epochs[-1].train_correct.mean() > 0.6


def test_training_leaves_the_callers_settings_alone(small: Campaign, digits: Dataset) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    torch.manual_seed(5)
    train(small, digits, Run(200_000, 0))
    assert torch.equal(torch.rand(3), expected)
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


def test_the_engine_is_the_plain_loop(digits: Dataset) -> None:
    """The same run written down as plainly as possible gives the same predictions."""
    campaign = small_campaign(recipe={"epochs": 3, "batch_size": 64, "drop_last": True})
    run = Run(600_000, 1)
    result = train(campaign, digits, run)[0]
    torch.manual_seed(integer_seed(campaign, Purpose.INITIALIZATION, run))
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))
    images = torch.tensor(np.array(digits.train_images)).float() / 16
    labels = torch.tensor(np.array(digits.train_labels))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    order = generator(campaign, Purpose.ORDER, run)
    members = np.flatnonzero(draw_subset(campaign, run, len(labels)))
    assert len(members) == 862
    for _ in range(3):
        permuted = order.permutation(members)
        for start in range(0, 832, 64):
            batch = permuted[start : start + 64]
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
    right = (model(images).argmax(dim=1) == labels).numpy()
    assert (right != result.epochs[-1].train_correct).sum() <= 2


@pytest.mark.slow
def test_models_fit_their_subset_and_generalise(digits: Dataset) -> None:
    campaign = small_campaign(model={"name": "mlp", "hidden": [64]}, recipe={"epochs": 20, "batch_size": 64})
    result = train(campaign, digits, Run(600_000, 0))[0]
    right = result.epochs[-1].train_correct
    assert result.status == "completed"
    assert right[result.subset].mean() > 0.995
    assert 0.93 < right[~result.subset].mean() < 0.995


def test_recording_more_epochs_changes_no_training(digits: Dataset) -> None:
    every = small_campaign(record={"epochs": "all"}, recipe={"epochs": 3, "batch_size": 256})
    last = small_campaign(recipe={"epochs": 3, "batch_size": 256})
    # The identity, and with it nothing random, depends on what is recorded.
    all_epochs, final = (train(campaign, digits, Run(600_000, 0))[0] for campaign in (every, last))
    assert [record.epoch for record in all_epochs.epochs] == [1, 2, 3]
    assert (all_epochs.epochs[-1].train_correct == final.epochs[-1].train_correct).all()


def test_a_run_whose_loss_is_not_finite_diverges(digits: Dataset) -> None:
    campaign = small_campaign(
        recipe={"epochs": 5, "batch_size": 64, "optimizer": {"name": "sgd", "learning_rate": 1e6, "weight_decay": 1e3}},
        model={"name": "mlp", "hidden": [8, 8]},
    )
    result = train(campaign, digits, Run(600_000, 0))[0]
    assert result.status == "diverged"
    assert len(result.epochs) == 1
    assert not math.isfinite(result.epochs[0].train_loss)


def test_models_see_the_given_labels(digits: Dataset) -> None:
    campaign = small_campaign(label_noise={"fraction": 0.5})
    data = on_device(campaign, digits)
    assert (data.train_labels.numpy() != digits.train_labels).sum() == round(0.5 * 1437)
    assert (data.test_labels.numpy() == digits.test_labels).all()


def test_input_scaling(digits: Dataset) -> None:
    unit = on_device(small_campaign(), digits)
    scaled = unit.scaled(unit.train_images.select(torch.arange(1437)))
    assert (scaled.min().item(), scaled.max().item()) == (0, 1)
    standard = on_device(small_campaign(recipe={"epochs": 1, "batch_size": 8, "input_scaling": "standardize"}), digits)
    scaled = standard.scaled(standard.train_images.select(torch.arange(1437)))
    assert scaled.mean().item() == pytest.approx(0, abs=1e-5)
    assert scaled.std().item() == pytest.approx(1, abs=1e-4)
    assert standard.fill.flatten().tolist() == [0]


def test_augmentation_that_does_not_fit_is_refused(digits: Dataset) -> None:
    too_large = small_campaign(recipe={"epochs": 1, "batch_size": 8, "augmentation": {"cutout": 9}})
    with pytest.raises(CampaignError, match="cutout: must be at most the image's side 8, got 9"):
        on_device(too_large, digits)
    flat = dataclasses.replace(
        digits,
        train_images=np.asarray(digits.train_images, dtype=np.float32).reshape(1437, 64),
        test_images=np.asarray(digits.test_images, dtype=np.float32).reshape(360, 64),
    )
    flipped = small_campaign(recipe={"epochs": 1, "batch_size": 8, "augmentation": {"flip": True}})
    with pytest.raises(CampaignError, match=r"needs images \[C, H, W\], the data set has \[64\]"):
        on_device(flipped, flat)


@pytest.mark.slow
def test_torchvision_is_imported_only_where_it_is_used() -> None:
    script = (
        "import sys\nfrom tests.conftest import small_campaign\nfrom workers.training.shard import Worker\n"
        "from workers.datasets import load_dataset\nfrom workers.models import build_model\n"
        "campaign = small_campaign()\nload_dataset(campaign.dataset)\nbuild_model(campaign.model, (1, 8, 8), 10)\n"
        "sys.exit('torchvision' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], check=False).returncode == 0


def test_evaluation_flip_averages_an_image_and_its_mirror(digits: Dataset) -> None:
    mirrored = dataclasses.replace(digits, test_images=np.ascontiguousarray(np.asarray(digits.test_images)[..., ::-1]))
    campaign = small_campaign(recipe={"epochs": 2, "batch_size": 64, "evaluation_flip": True})
    here, there = (train(campaign, data, Run(600_000, 0))[0] for data in (digits, mirrored))
    assert (here.epochs[-1].test_correct == there.epochs[-1].test_correct).all()
