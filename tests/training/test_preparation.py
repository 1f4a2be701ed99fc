"""Stacks prepared in the background, and trainers that take over from the stack before: no bit changes."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.gpu.correctness import Watch
from tests.conftest import small_campaign
from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run
from workers.datasets import load_dataset
from workers.training import Engine, SequentialEngine, StackedEngine
from workers.training.cuda_graphs import Tensors, _GraphedStep
from workers.training.device_data import DeviceData, load_on_device
from workers.training.engine import train_in_stacks
from workers.training.model_init import complete_model, draw_model, initial_model
from workers.training.preparation import StackPreparation

CPU = torch.device("cpu")
RUNS = [Run(100_000, repetition) for repetition in range(6)]
SHAPED: Any = SimpleNamespace(
    input_shape=(3, 16, 16), num_classes=7, device=CPU, train_labels=torch.zeros(8), scored=None
)
"""What a model that is not whitened needs of the data."""


def state_of(model: torch.nn.Module) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}


MODELS: dict[str, dict[str, Any]] = {
    "small-cnn": {"width": 4},
    "resnet9": {"width": 4},
    "airbench": {"widths": [4, 8, 8]},
    "wide-resnet": {"depth": 10, "width": 1},
    "densenet": {"depth": 10, "growth": 4},
    "inception": {"width": 1},
    "vit": {"layers": 1, "width": 8},
    "vit-small-data": {"layers": 1, "width": 8, "hidden": 8},
}


@pytest.mark.parametrize(
    ("model", "weights"),
    [*((name, "default") for name in MODELS), ("small-cnn", "glorot-normal"), ("small-cnn", "kaiming-uniform")],
)
def test_weights_drawn_in_another_thread_are_those_drawn_here(model: str, weights: str) -> None:
    """While this thread draws as well. torch's own generator ends where it would have."""
    recipe = {"epochs": 1, "batch_size": 8, "initialization": {"weights": weights}}
    campaign = small_campaign(model={"name": model, **MODELS[model]}, recipe=recipe)
    with torch.random.fork_rng(devices=[]):
        expected = state_of(initial_model(campaign, SHAPED, RUNS[1]))
        generator = torch.get_rng_state()
        torch.manual_seed(3)
        with ThreadPoolExecutor(1) as thread:
            future = thread.submit(draw_model, campaign, SHAPED, RUNS[1])
            here = torch.rand(1000)
            drawn = future.result()
        undisturbed = torch.rand(1010, generator=torch.Generator().manual_seed(3))
        assert torch.equal(torch.cat([here, torch.rand(10)]), undisturbed)
        assert state_of(complete_model(drawn, campaign, SHAPED, RUNS[1])) == expected
        assert torch.equal(torch.get_rng_state(), generator)


def planned(model: Mapping[str, Any], optimizer: Mapping[str, Any], **recipe: Any) -> Campaign:
    return small_campaign(
        model=dict(model),
        recipe={"epochs": 3, "batch_size": 40, "optimizer": dict(optimizer), "schedule": {"name": "cosine"}, **recipe},
        subsets={"ratios": [0.1], "repetitions": len(RUNS), "seed": 5},
        record={"epochs": 2, "margins": True, "presentations": True, "probabilities": True},
    )


def data_of(campaign: Campaign) -> DeviceData:
    dataset = load_dataset(campaign.dataset)
    return load_on_device(dataset, campaign, np.array(dataset.train_labels), CPU)


def digest(engine: Engine, campaign: Campaign, data: DeviceData, runs: Sequence[Run] = RUNS) -> Any:
    watch = Watch()
    return watch.digest_of(train_in_stacks(engine, campaign, data, runs, watch))


class EveryStackAnew(StackedEngine):
    """Makes a trainer for each stack."""

    def start_next(self, campaign: Campaign, data: DeviceData, runs: Sequence[Run]) -> Any:
        return self.start(campaign, data, runs)


SGD = {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 1e-3}
ALTERNATING = {"augmentation": {"flip": "alternating"}}
AUGMENTED = {"augmentation": {"flip": True, "translate": 1}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "precision", "recipe"),
    [
        ({"name": "small-cnn", "width": 4}, "bfloat16", {"optimizer": SGD, **AUGMENTED}),
        ({"name": "mlp", "hidden": [8]}, "float32", {"optimizer": {"name": "muon"}, "lookahead": {}, **ALTERNATING}),
        ({"name": "user_code:noted_model", "options": {"scale": 1e38}}, "float32", {"optimizer": {"name": "adamw"}}),
    ],
    ids=["small-cnn", "muon, lookahead", "dropout, batch norm, runs that diverge"],
)
def test_a_trainer_that_is_taken_over_and_one_prepared_ahead_give_the_same_bits(
    model: Mapping[str, Any], precision: Any, recipe: dict[str, Any], tmp_path: Any
) -> None:
    if "options" in model:
        model = {**model, "options": {**model["options"], "log": str(tmp_path / "log")}}
    campaign = planned(model, **recipe)
    data = data_of(campaign)
    expected = digest(EveryStackAnew(2, precision), campaign, data)
    assert len(expected[1]) == 3
    assert digest(StackedEngine(2, precision), campaign, data) == expected
    assert digest(StackedEngine(2, precision, overlap=True), campaign, data) == expected


@pytest.mark.slow
def test_the_sequential_engine_prepared_ahead() -> None:
    """Dropout draws from torch's global generator."""
    model = {"name": "vit", "layers": 1, "width": 8, "dropout": 0.2}
    campaign = planned(model, {"name": "adamw"})
    data = data_of(campaign)
    results = [digest(SequentialEngine(overlap=overlap), campaign, data, RUNS[:2]) for overlap in (False, True)]
    assert results[0] == results[1]


def test_what_is_prepared_is_taken_once_and_of_this_campaign() -> None:
    campaign, other = (planned({"name": "mlp", "hidden": [4]}, SGD, label_smoothing=each) for each in (0.0, 0.1))
    data, preparation = data_of(campaign), StackPreparation(overlap=True)
    for start in range(4):  # more than are kept
        preparation.begin(campaign, data, RUNS[start : start + 1])
    assert len(preparation._waiting) == 3
    (waiting,) = [future for *_, future in preparation._waiting.values()][-1:]
    drawn = waiting.result()
    taken = preparation.take(campaign, data, RUNS[3:4])
    assert taken.streams is drawn.streams
    assert preparation.take(campaign, data, RUNS[3:4]).streams is not drawn.streams
    preparation.begin(campaign, data, RUNS[:1])
    assert preparation.take(other, data, RUNS[:1]).streams[0].recipe == other.recipe


def test_an_error_of_the_preparation_is_raised_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = planned({"name": "mlp", "hidden": [4]}, SGD)
    data, preparation = data_of(campaign), StackPreparation(overlap=True)
    monkeypatch.setattr("workers.training.preparation.draw_model", lambda *arguments: 1 / 0)
    preparation.begin(campaign, data, RUNS[:1])
    with pytest.raises(ZeroDivisionError):
        preparation.take(campaign, data, RUNS[:1])


class _Recorded(_GraphedStep):
    """Captures what can be captured without a GPU: which step was played with which inputs."""

    def __init__(self) -> None:
        super().__init__(lambda *arguments: arguments, ())
        self.plain: list[int] = []

    def _plain(self, arguments: Tensors) -> Tensors:
        self.plain.append(len(arguments[0]))
        return tuple(argument + 1 for argument in arguments)

    def _capture(self, arguments: Tensors) -> Any:
        inputs, result = (tuple(torch.zeros_like(argument) for argument in arguments) for _ in range(2))

        def replay() -> None:
            for held, out in zip(inputs, result, strict=True):
                out.copy_(held + 1)

        return SimpleNamespace(replay=replay), inputs, result


def test_graphs_of_two_shapes_are_kept() -> None:
    step = _Recorded()
    for size in (4, 4, 4, 4, 3, 4, 3, 3, 3, 4, 2, 2, 2, 2, 4, 3):
        (out,) = step(torch.full((size,), float(size)))
        assert out.tolist() == [size + 1] * size
    assert step.plain == [4, 4, 4, 3, 3, 3, 2, 2, 2], "a shape is warmed up once"
    assert sorted(shape[0][0] for shape in step.captured) == [3, 4]
