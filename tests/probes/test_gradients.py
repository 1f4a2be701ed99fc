"""Gradient accounting: the sums of both groups' gradients, in both engines, beside training that does not change."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.nn import functional as F

from tests.conftest import small_campaign
from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run
from workers.datasets import load_dataset
from workers.store import RunResult
from workers.subsets.draw import given_labels
from workers.training import Engine, SequentialEngine, StackedEngine
from workers.training.device_data import DeviceData, load_on_device
from workers.training.minibatch_streams import MinibatchStreams
from workers.training.model_init import initial_model

RUNS = [Run(600_000, repetition) for repetition in range(3)]


def noisy_campaign(**changes: object) -> Campaign:
    """Three runs on digits, every tenth label replaced, and gradients recorded."""
    document: dict[str, object] = {
        "label_noise": {"fraction": 0.1},
        "subsets": {"ratios": [0.6], "repetitions": 3, "seed": 5},
        "record": {"probes": {"gradients": True}},
    }
    return small_campaign(**{**document, **changes})


def data_of(campaign: Campaign) -> DeviceData:
    dataset = load_dataset(campaign.dataset)
    labels = given_labels(campaign, np.array(dataset.train_labels), dataset.num_classes)
    return load_on_device(dataset, campaign, labels, torch.device("cpu"))


def trained(engine: Engine, campaign: Campaign) -> list[RunResult]:
    return engine.train(campaign, data_of(campaign), RUNS)


def sums(result: RunResult) -> npt.NDArray[np.float32]:
    values: npt.NDArray[np.float32] = result.epochs[-1].probes["probe_gradients"]
    return values


@pytest.mark.slow
@pytest.mark.parametrize("engine", [StackedEngine(3), StackedEngine(1), SequentialEngine()], ids=["3", "1", "plain"])
def test_sums_are_those_of_one_backward_per_example(engine: Engine) -> None:
    """At weights that hardly move, G_c and G_n sum the examples' own gradients over their minibatch's size."""
    still = {"epochs": 1, "batch_size": 100, "optimizer": {"name": "sgd", "learning_rate": 1e-12}}
    campaign = noisy_campaign(recipe=still)
    data = data_of(campaign)
    for run, result in zip(RUNS, trained(engine, campaign), strict=True):
        model = initial_model(campaign, data, run)
        groups: dict[bool, list[list[torch.Tensor]]] = {True: [], False: []}
        order, _ = MinibatchStreams(campaign, data, run).next_epoch()
        for start in range(0, len(order), 100):
            batch = order[start : start + 100]
            for example in batch:
                inputs = data.scaled(data.train_images.select(torch.tensor([example])))
                loss = F.cross_entropy(model(inputs), data.train_labels[[example]]) / len(batch)
                gradient = torch.autograd.grad(loss, list(model.parameters()))
                groups[bool(data.split[example])].append([each.double().flatten() for each in gradient])
        clean, noisy = ([sum(each) for each in zip(*groups[kind], strict=True)] for kind in (False, True))
        expected = [[c @ c, n @ n, c @ n] for c, n in zip(clean, noisy, strict=True)]
        np.testing.assert_allclose(sums(result)[0], np.array(expected, dtype=float), rtol=1e-4)


MODELS: dict[str, dict[str, object]] = {
    "mlp": {"name": "mlp", "hidden": [16, 16]},
    "convolutions": {"name": "small-cnn", "width": 4, "hidden": 8},
}


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_stacks_and_plain_models_agree(model: str) -> None:
    campaign = noisy_campaign(model=MODELS[model], recipe={"epochs": 3, "batch_size": 64})
    three, one, plain = (
        [sums(each) for each in trained(engine, campaign)]
        for engine in (StackedEngine(3), StackedEngine(1), SequentialEngine())
    )
    np.testing.assert_allclose(three, one, rtol=1e-3)
    np.testing.assert_allclose(three, plain, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("size", [3, 0])
def test_training_is_the_same_with_and_without(size: int) -> None:
    """Not a bit of what else is recorded changes, over enough steps for the step to be replayed."""
    recipe = {"epochs": 4, "batch_size": 64, "augmentation": {"flip": True}, "label_smoothing": 0.1}
    engine = StackedEngine(size) if size else SequentialEngine()
    with_probes = trained(engine, noisy_campaign(recipe=recipe))
    without = trained(engine, noisy_campaign(recipe=recipe, record={}))
    for ours, theirs in zip(with_probes, without, strict=True):
        assert ours.epochs[-1].train_loss == theirs.epochs[-1].train_loss
        assert ours.epochs[-1].train_correct.tobytes() == theirs.epochs[-1].train_correct.tobytes()
        assert not theirs.epochs[-1].probes
        assert np.isfinite(sums(ours)).all()


def test_runs_beyond_the_repetitions_are_not_measured() -> None:
    campaign = noisy_campaign(record={"probes": {"gradients": True, "repetitions": 1}})
    first, *others = trained(StackedEngine(2), campaign)
    assert np.isfinite(sums(first)).all()
    assert all(np.isnan(sums(each)).all() for each in others)


def test_without_noisy_examples_the_sums_are_zero() -> None:
    first, *_ = trained(StackedEngine(3), noisy_campaign(label_noise={"fraction": 0.0}))
    assert (sums(first)[..., 1:] == 0).all()
    assert (sums(first)[..., 0] > 0).all()
