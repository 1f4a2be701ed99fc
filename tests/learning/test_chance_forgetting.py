"""Events by chance: the first network is a run of the campaign, the second takes its steps shuffled."""

import numpy as np
import pytest
import torch

from analysis.learning.forgetting import count_forgetting
from benchmarks.chance_forgetting import events_table, shuffled, train_both
from tests.conftest import small_campaign
from workers.campaign.keys import Run
from workers.datasets import load_dataset
from workers.training import SequentialEngine
from workers.training.determinism import deterministic
from workers.training.device_data import load_on_device

RUN = Run(600_000, 1)


@pytest.mark.slow
def test_the_first_network_is_the_run_and_the_second_takes_shuffled_steps() -> None:
    campaign = small_campaign(recipe={"epochs": 4, "batch_size": 64}, record={"presentations": True})
    digits = load_dataset(campaign.dataset)
    data = load_on_device(digits, campaign, np.array(digits.train_labels), torch.device("cpu"))
    with deterministic(data.device, "float32"):
        own, chance = train_both(campaign, data, RUN)
        again = train_both(campaign, data, RUN)[1]
    (result,) = SequentialEngine().train(campaign, data, [RUN])
    presented = result.epochs[0].presentations
    expected = count_forgetting(presented["presented"], presented["presented_correct"], np.arange(1, 5))
    assert (own.events != expected.events).sum() <= 2
    assert np.array_equal(own.presentations, expected.presentations)
    assert np.array_equal(chance.events, again.events)
    # Random steps do not learn: far fewer presentations are right.
    assert chance.correct.sum() < own.correct.sum() / 2
    shares = events_table([(own, chance)], most=3)
    total = sum(float(text.split(" ")[0]) for text in shares["chance"])
    assert total == pytest.approx(100, abs=0.01)


def test_a_step_is_shuffled_within_its_tensor() -> None:
    change = torch.arange(60.0).view(3, 4, 5)
    other = shuffled(change, torch.Generator().manual_seed(1))
    assert other.shape == change.shape
    assert not torch.equal(other, change)
    assert torch.equal(other.flatten().sort().values, change.flatten())
