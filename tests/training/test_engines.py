"""Engines: the same results whichever trains, in either precision, wherever the pixels are."""

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from orchestrator import LocalRunner
from orchestrator.campaigns.execution_plan import RequestedSizes, plan_execution
from orchestrator.campaigns.preflight import check_campaign_fits
from tests.conftest import small_campaign
from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run
from workers.campaign.recipe import SGD, Adam, AdamW
from workers.datasets import Dataset, load_dataset
from workers.errors import CampaignError
from workers.models.stacking import Weight
from workers.store import RunResult
from workers.subsets.draw import given_labels
from workers.training import Engine, SequentialEngine, StackedEngine, stack_calibration
from workers.training.cuda_graphs import with_cuda_graph
from workers.training.device_data import DeviceData, load_on_device
from workers.training.hardware import Machine
from workers.training.optimizers import Update
from workers.training.pixel_sources import StreamedPixels
from workers.training.stack_calibration import fastest_stack
from workers.training.stack_choice import StackChoice

CPU = torch.device("cpu")
LAPTOP = Machine("cpu", bfloat16=False, memory=0)
SERVER = Machine("cpu", bfloat16=True, memory=0)
GPU = Machine("cuda", bfloat16=True, memory=80 * 2**30, tf32=True)
OLD_GPU = Machine("cuda", bfloat16=False, memory=16 * 2**30)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    """The digits."""
    return load_dataset(small_campaign().dataset)


def on_device(campaign: Campaign, dataset: Dataset, streamed: bool | None = None) -> DeviceData:
    labels = given_labels(campaign, np.array(dataset.train_labels), dataset.num_classes)
    return load_on_device(dataset, campaign, labels, CPU, streamed=streamed)


def told(results: list[RunResult]) -> list[object]:
    """All of the results that must be reproducible."""
    return [
        (r.run, r.status, r.subset.tobytes(), [(e.epoch, e.train_loss, e.train_correct.tobytes()) for e in r.epochs])
        for r in results
    ]


KINDS: dict[str, dict[str, object]] = {
    "mlp": {"recipe": {"epochs": 3, "batch_size": 64}},
    "adamw": {
        "model": {"name": "mlp", "hidden": [32]},
        "recipe": {
            "epochs": 2,
            "batch_size": 16,
            "optimizer": {"name": "adamw", "learning_rate": 0.01},
            "label_smoothing": 0.1,
        },
    },
    "cnn": {
        "model": {"name": "small-cnn", "width": 8, "hidden": 32},
        "recipe": {
            "epochs": 6,
            "batch_size": 16,
            "optimizer": {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3},
            "schedule": {"name": "cosine"},
            "augmentation": {"flip": True, "translate": 1, "cutout": 1},
            "evaluation_flip": True,
        },
    },
    "dropout": {"model": {"name": "user_code:dropout_model", "options": {"width": 8}}},
}


ADAM = {
    "adam": {
        "model": {"name": "mlp", "hidden": [32]},
        "recipe": {
            "epochs": 2,
            "batch_size": 16,
            "optimizer": {"name": "adam", "learning_rate": 0.01, "weight_decay": 1e-3},
        },
    }
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mlp", "adam", "adamw", "cnn"])
def test_both_engines_train_the_same_models(kind: str, digits: Dataset) -> None:
    """The same streams and the same arithmetic: all but a few borderline predictions agree."""
    campaign = small_campaign(**(KINDS | ADAM)[kind])
    data = on_device(campaign, digits)
    runs = [Run(600_000, repetition) for repetition in range(3)]
    apart, together = (engine.train(campaign, data, runs) for engine in (SequentialEngine(), StackedEngine(3)))
    assert max(one.epochs[-1].train_correct.mean() for one in apart) > 0.4, "untrained models agree too"
    for one, other in zip(apart, together, strict=True):
        assert (one.run, one.subset.tolist()) == (other.run, other.subset.tolist())
        assert one.epochs[-1].train_loss == pytest.approx(other.epochs[-1].train_loss, rel=1e-4)
        assert (one.epochs[-1].train_correct != other.epochs[-1].train_correct).mean() < 0.005
        assert (one.epochs[-1].test_correct != other.epochs[-1].test_correct).mean() < 0.01


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize(
    "how",
    [
        SGD(nesterov=True, weight_decay=0.01),
        Adam(name="adam", learning_rate=0.1, weight_decay=0.1),
        AdamW(name="adamw", learning_rate=0.1),
    ],
    ids=lambda how: how.name,
)
def test_updates_are_pytorchs(how: SGD | Adam | AdamW, layout: torch.memory_format) -> None:
    """Also where a gradient and its weight lie in memory in different orders."""
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)).to(memory_format=layout)
    theirs = copy.deepcopy(ours)
    update = Update([Weight(parameter.detach(), parameter) for parameter in ours.parameters()], how)
    optimizer: torch.optim.Optimizer
    if isinstance(how, SGD):
        optimizer = torch.optim.SGD(theirs.parameters(), 0.1, how.momentum, nesterov=True, weight_decay=0.01)
    else:
        form = torch.optim.Adam if isinstance(how, Adam) else torch.optim.AdamW
        optimizer = form(theirs.parameters(), 0.1, (how.beta1, how.beta2), how.epsilon, how.weight_decay)
    update.set_rate_factor(1)
    for memory in (torch.channels_last, torch.contiguous_format, torch.channels_last):
        images = torch.rand(5, 3, 6, 6).contiguous(memory_format=memory)
        update.apply(update.gradients(ours(images).square().mean()))
        optimizer.zero_grad()
        theirs(images).square().mean().backward()
        optimizer.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stacked_run_depends_on_its_key_alone(kind: str, precision: str, digits: Dataset) -> None:
    campaign = small_campaign(**KINDS[kind], subsets={"ratios": [0.1], "repetitions": 7, "seed": 3})
    data, engine = on_device(campaign, digits), StackedEngine(3, "bfloat16" if precision == "bfloat16" else "float32")
    runs = [Run(100_000, repetition) for repetition in range(7)]
    together = told(engine.train(campaign, data, runs))
    torch.manual_seed(123)
    apart = [told(engine.train(campaign, data, [run]))[0] for run in reversed(runs)]
    assert together == apart[::-1]
    assert len({repr(result) for result in together}) == 7


@pytest.mark.slow
def test_accuracy_does_not_depend_on_the_engine_or_the_precision(digits: Dataset) -> None:
    """16 seeds: the mean held-out and test accuracies agree within three standard errors of their difference."""
    campaign = small_campaign(model={"name": "mlp", "hidden": [32]}, recipe={"epochs": 6, "batch_size": 32})
    data = on_device(campaign, digits)
    runs = [Run(600_000, repetition) for repetition in range(16)]
    engines: list[Engine] = [
        SequentialEngine(),
        StackedEngine(8),
        SequentialEngine("bfloat16"),
        StackedEngine(8, "bfloat16"),
    ]
    accuracies = []
    for engine in engines:
        results = engine.train(campaign, data, runs)
        heldout = [result.epochs[-1].train_correct[~result.subset].mean() for result in results]
        test = [result.epochs[-1].test_correct.mean() for result in results]
        accuracies.append(np.array([heldout, test]))
    assert accuracies[0].mean() > 0.9
    for other in accuracies[1:]:
        difference = other - accuracies[0]
        noise = np.maximum(difference.std(axis=1, ddof=1) / np.sqrt(16), 1e-4)
        assert (np.abs(difference.mean(axis=1)) < 3 * noise).all(), difference.mean(axis=1)


@pytest.mark.slow
def test_one_diverging_run_does_not_touch_its_neighbours(digits: Dataset) -> None:
    campaign = small_campaign(
        model={"name": "user_code:explosive_model"},
        recipe={"epochs": 3, "batch_size": 64},
        record={"epochs": "all"},
    )
    data, runs = on_device(campaign, digits), [Run(600_000, repetition) for repetition in range(12)]
    together, apart = (engine.train(campaign, data, runs) for engine in (StackedEngine(12), SequentialEngine()))
    assert {result.status for result in together} == {"diverged", "completed"}
    for one, other in zip(together, apart, strict=True):
        assert (one.status, len(one.epochs)) == (other.status, len(other.epochs))
        assert len(one.epochs) == (1 if one.status == "diverged" else 3)
        if one.status == "completed":
            assert one.epochs[-1].train_loss == pytest.approx(other.epochs[-1].train_loss, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 3])
def test_streamed_pixels_give_the_same_bits(size: int, digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """And are read ahead, minibatch after minibatch: a step that is captured as a CUDA graph cannot ask for images."""

    def refuse(self: StreamedPixels, index: torch.Tensor) -> torch.Tensor:
        raise AssertionError("a step waited for its images")

    monkeypatch.setattr(StreamedPixels, "select", refuse)
    campaign = small_campaign(**KINDS["cnn"])
    runs = [Run(200_000, repetition) for repetition in range(2)]
    engine: Engine = SequentialEngine() if size == 1 else StackedEngine(size)
    resident, streamed = (
        engine.train(campaign, on_device(campaign, digits, streamed=how), runs) for how in (False, True)
    )
    assert told(resident) == told(streamed)


def test_leaving_a_stream_early_ends_its_readers(digits: Dataset) -> None:
    data = on_device(small_campaign(), digits, streamed=True)
    stream = data.train_images.minibatches(np.arange(1437), 1)
    assert next(stream).shape == (1, 1, 8, 8)
    stream.close()  # type: ignore[attr-defined]
    whole = torch.cat(list(data.train_images.minibatches(np.arange(1437)[::-1].copy(), 100)))
    np.testing.assert_array_equal(whole.numpy(), digits.train_images[::-1])


def test_off_a_gpu_a_step_is_called_as_it_is() -> None:
    def step(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (x + 1,)

    assert with_cuda_graph(step, CPU) is step


def sizes(
    machine: Machine, shard_size: int | None = None, stack_size: int | None = None, **parts: object
) -> tuple[int, int, str]:
    campaign = small_campaign(**parts)
    dataset = load_dataset(campaign.dataset)
    requested = RequestedSizes(shard_size, stack_size)
    arranged = plan_execution(campaign, dataset, check_campaign_fits(campaign, dataset), machine, requested)
    return arranged.shard_size, arranged.stack_size, arranged.precision


def repeated(repetitions: int) -> dict[str, object]:
    return {"ratios": [0.5], "repetitions": repetitions}


@pytest.mark.slow
def test_stacks_are_even_and_bounded() -> None:
    assert sizes(LAPTOP) == (6, 3, "float32")
    assert sizes(LAPTOP, subsets=repeated(400))[:2] == (31, 31)
    assert sizes(LAPTOP, subsets=repeated(33))[:2] == (17, 17)
    assert sizes(LAPTOP, subsets=repeated(1))[:2] == (8, 1)
    assert sizes(GPU, subsets=repeated(400))[:2] == (200, 200)
    assert sizes(dataclasses.replace(GPU, memory=2**20), subsets=repeated(400))[1] == 24


def test_gpus_of_one_kind_get_one_stack_though_their_memory_differs() -> None:
    """By their memory alone the limits would be 26, 30 and 31 models."""
    memories = [2**20 * 880 // 1024, 2**20, 2**20 * 1060 // 1024]
    assert {sizes(dataclasses.replace(GPU, memory=each), subsets=repeated(400))[1] for each in memories} == {24}


def test_a_requested_stack_is_kept_or_refused() -> None:
    for machine in (LAPTOP, GPU):
        assert sizes(machine, None, 5, subsets=repeated(7))[:2] == (5, 5)
        assert sizes(machine, None, 1, subsets=repeated(7))[:2] == (8, 1)
        assert sizes(machine, 12, 4, subsets=repeated(7))[:2] == (12, 4)
        with pytest.raises(CampaignError, match="^stack_size: must divide shard_size 12, got 5$"):
            sizes(machine, 12, 5)
    with pytest.raises(CampaignError, match="^stack_size: must be 1, since class_token is a parameter .*, got 2$"):
        sizes(LAPTOP, None, 2, model={"name": "vit", "layers": 1, "heads": 2, "width": 8})


def test_a_gpu_is_asked_for_the_fastest_stack() -> None:
    campaign, asked = small_campaign(subsets=repeated(400)), []

    def fastest(campaign: Campaign, sizes: Sequence[int], precision: str) -> StackChoice:
        asked.append((sizes, precision))
        return StackChoice(sizes[1])

    dataset = load_dataset(campaign.dataset)
    facts = check_campaign_fits(campaign, dataset)
    assert plan_execution(campaign, dataset, facts, GPU, fastest=fastest).stack_size == 58
    assert plan_execution(campaign, dataset, facts, GPU, RequestedSizes(10), fastest).stack_size == 10
    assert plan_execution(campaign, dataset, facts, SERVER, fastest=fastest).stack_size == 31
    assert plan_execution(campaign, dataset, facts, GPU, RequestedSizes(stack=7), fastest).stack_size == 7
    assert asked == [([31, 58, 100, 200], "bfloat16")]
    scarce = plan_execution(campaign, dataset, facts, GPU, fastest=lambda *question: StackChoice(8))
    assert (scarce.shard_size, scarce.stack_size) == (8, 8)
    assert scarce.note == "31 models at a time ran out of memory in the calibration: they train 8 at a time"


@pytest.mark.parametrize("streamed", [False, True])
def test_calibration_trains_each_size_and_chooses_one(streamed: bool, digits: Dataset) -> None:
    campaign = small_campaign(**KINDS["cnn"])
    data = on_device(campaign, digits, streamed=streamed)
    assert fastest_stack(campaign, data, [1, 2], "float32") in (StackChoice(1), StackChoice(2))


def test_a_calibration_is_remembered_and_not_trusted_blindly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LONGTAIL_CACHE", str(tmp_path))
    answers = iter(map(StackChoice, range(1, 100)))
    monkeypatch.setattr(stack_calibration, "fastest_stack", lambda *question: next(answers))
    small, other = small_campaign(), small_campaign(model={"name": "mlp", "hidden": [9]})
    sizes, calibrate = list(range(1, 20)), stack_calibration.calibrate
    assert [calibrate(small, sizes, "float32", CPU).size for _ in range(2)] == [1, 1]
    assert calibrate(other, sizes, "float32", CPU).size == 2
    assert calibrate(small, sizes, "bfloat16", CPU).size == 3
    assert calibrate(small, [4, 5, 6], "float32", CPU).size == 4
    files = list((tmp_path / "calibrations").iterdir())
    assert len(files) == 4
    for damage in ("{", "[]", '{"question": 1, "stack_size": 2}', "\0" * 20_000):
        for file in files:
            file.write_text(damage)
        again = calibrate(small, sizes, "float32", CPU)
        assert again == calibrate(small, sizes, "float32", CPU)
        assert again.size > 4
    for file in files:  # an answer that was not asked for
        file.write_text(file.read_text().replace('"stack_size": 8', '"stack_size": 900'))
    assert calibrate(small, sizes, "float32", CPU).size == 9


@pytest.mark.slow
def test_a_runner_calibrates() -> None:
    assert LocalRunner("cpu").fastest_stack(small_campaign(**KINDS["cnn"]), [1, 2], "bfloat16").size in (1, 2)
    assert LocalRunner("cpu").fastest_stack(small_campaign(), [1, 8], "float32").size in (1, 8)


def test_a_given_shard_size_is_kept_and_holds_whole_stacks() -> None:
    assert sizes(LAPTOP, 1) == (1, 1, "float32")
    assert sizes(LAPTOP, 6, subsets=repeated(4))[:2] == (6, 3)
    assert sizes(LAPTOP, 100, subsets=repeated(1000))[:2] == (100, 25)


@pytest.mark.slow
def test_large_models_are_not_stacked() -> None:
    assert sizes(LAPTOP, model={"name": "mlp", "hidden": [8192, 8192]})[:2] == (1, 1)


def test_precision_is_decided_by_the_machine_only_where_it_is_left_to_it() -> None:
    for precision, machine, expected in [
        ("auto", LAPTOP, "float32"),
        ("auto", SERVER, "bfloat16"),
        ("float32", SERVER, "float32"),
        ("bfloat16", LAPTOP, "bfloat16"),
        ("auto", GPU, "bfloat16"),
        ("auto", OLD_GPU, "float32"),
        ("float32", GPU, "float32"),
        ("tf32", GPU, "tf32"),
        ("tf32", OLD_GPU, "float32"),
        ("tf32", SERVER, "float32"),
        (None, GPU, "bfloat16"),
        (None, OLD_GPU, "float32"),
        (None, SERVER, "float32"),
    ]:
        assert sizes(machine, recipe={"epochs": 1, "batch_size": 8, "precision": precision})[2] == expected
