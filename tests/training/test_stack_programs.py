"""Programs of a stack: in streams every model's bits are its own; compiled ones are close; which of them is chosen."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.campaigns.execution_plan import ExecutionPlan
from orchestrator.campaigns.preflight import make_header
from tests.conftest import small_campaign
from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run
from workers.datasets import Dataset, load_dataset
from workers.models import build_model
from workers.models.stacking import StackedModel, StreamedModels, compiled
from workers.store import Header
from workers.store.stack_program import GROUPED, StackProgram
from workers.subsets.draw import given_labels
from workers.training import StackedEngine, stack_calibration, training_conditions
from workers.training.device_data import DeviceData, load_on_device
from workers.training.shard import choose_engine
from workers.training.stack_calibration import faster_program
from workers.training.stack_choice import StackChoice
from workers.training.stacked import make_stack

CPU = torch.device("cpu")
STREAMS = StackProgram(kind="streams")
COMPILED = StackProgram(compiled=True)
CNN: Mapping[str, Any] = {
    "model": {"name": "small-cnn", "width": 4, "hidden": 8},
    "recipe": {"epochs": 2, "batch_size": 40, "augmentation": {"flip": True, "translate": 1}, "lookahead": {}},
    "subsets": {"ratios": [0.1], "repetitions": 6, "seed": 3},
    "record": {"margins": True},
}


@pytest.fixture(scope="module")
def digits() -> Dataset:
    """The digits."""
    return load_dataset(small_campaign().dataset)


def on_device(campaign: Campaign, dataset: Dataset) -> DeviceData:
    return load_on_device(dataset, campaign, given_labels(campaign, np.array(dataset.train_labels), 10), CPU)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["small-cnn", "mlp"])
@pytest.mark.parametrize("optimizer", ["sgd", "muon"])
def test_a_model_in_a_stream_has_the_bits_of_a_stack_of_one(digits: Dataset, model: str, optimizer: str) -> None:
    """With dropout, augmentation, lookahead and batch statistics; also in the stack that takes over the first one's."""
    parts = {**CNN, "model": dict(CNN["model"], name=model) if model == "small-cnn" else {"name": "mlp", "hidden": [9]}}
    parts["recipe"] = {**CNN["recipe"], "optimizer": {"name": optimizer}}
    campaign = small_campaign(**parts)
    data, runs = on_device(campaign, digits), [Run(100_000, repetition) for repetition in range(6)]
    alone = StackedEngine(1, "bfloat16").train(campaign, data, runs)
    streams = StackedEngine(3, "bfloat16", program=STREAMS).train(campaign, data, runs)
    for one, other in zip(alone, streams, strict=True):
        assert [epoch.train_loss for epoch in one.epochs] == [epoch.train_loss for epoch in other.epochs]
        for ours, theirs in zip(one.epochs, other.epochs, strict=True):
            assert {name: vector.tobytes() for name, vector in ours.vectors().items()} == {
                name: vector.tobytes() for name, vector in theirs.vectors().items()
            }


def test_streams_draw_their_own_dropout_masks() -> None:
    campaign = small_campaign(model={"name": "mnist-cnn", "dropout": 0.5})
    models = [build_model(campaign.model, (1, 28, 28), 10) for _ in range(2)]
    stacks = [make_stack(models, torch.float32, CPU, program) for program in (GROUPED, STREAMS)]
    assert [type(stack) for stack in stacks] == [StackedModel, StreamedModels]
    images, logits = torch.rand(6, 1, 28, 28), []
    for stack in stacks:
        assert stack.draws
        stack.draw_from([torch.Generator().manual_seed(seed) for seed in (1, 2)])
        stack.train(True)
        logits.append(stack(images))
    torch.testing.assert_close(*logits)
    assert not torch.equal(logits[0][:3], logits[0][3:])


@pytest.mark.slow
def test_compiled_programs_compute_the_same_and_the_same_bits_twice() -> None:
    """By Inductor itself; on a CPU it needs a C++ compiler."""
    error = compiled.compiler_error(CPU)
    if error is not None:
        pytest.skip(f"torch.compile does not work here: {error}")
    campaign = small_campaign(**CNN)
    models = [build_model(campaign.model, (1, 8, 8), 10) for _ in range(2)]
    gradients = []
    for program in (GROUPED, COMPILED, COMPILED):
        stack = make_stack(models, torch.float32, CPU, program)
        stack.train(True)
        images = torch.rand((10, 1, 8, 8), generator=torch.Generator().manual_seed(0))
        loss = stack(images).square().mean()
        of_weights = torch.autograd.grad(loss, [weight.working for weight in stack.weights])
        statistics = [stack.weights_of(1)[name] for name in stack.weights_of(1) if "running" in name]
        gradients.append(
            [loss.detach(), *sorted((each.flatten().sum() for each in of_weights), key=float), *statistics]
        )
        stack.train(False)
        assert torch.isfinite(stack(images)).all()
    grouped, once, twice = gradients
    assert all(map(torch.equal, once, twice))
    torch.testing.assert_close(grouped, once)


def test_a_store_keeps_its_program_and_old_ones_are_grouped(digits: Dataset) -> None:
    campaign = small_campaign()
    plain = make_header(campaign, digits, stack_size=4)
    assert b"program" not in plain.to_json()
    assert Header.from_json(plain.to_json(), "store").program == GROUPED
    plan = ExecutionPlan(4, 4, "bfloat16", program=StackProgram(kind="streams", compiled=True))
    header = make_header(campaign, digits, **plan.header_fields())
    assert Header.from_json(header.to_json(), "store") == header
    conditions = training_conditions(StackedEngine(4), header, CPU)
    assert conditions["program"] == "streams, compiled"
    assert "program" not in training_conditions(StackedEngine(4), plain, CPU)


def test_a_cpu_trains_what_a_gpus_store_compiles_without_compiling(digits: Dataset) -> None:
    campaign = small_campaign()
    plan = ExecutionPlan(4, 4, "float32", program=StackProgram(kind="streams", compiled=True))
    engine = choose_engine(campaign, make_header(campaign, digits, **plan.header_fields()), digits.input_shape, CPU)
    assert isinstance(engine, StackedEngine)
    assert engine.program == STREAMS
    halved = engine.halved()
    assert halved is not None
    assert (halved.size, halved.program) == (2, STREAMS)


@dataclasses.dataclass
class Measured:
    """What `TimedStack` is replaced by: seconds of a step of one model, and its losses at each measurement."""

    seconds: float
    losses: list[float] = dataclasses.field(default_factory=lambda: [1.0, 1.0])
    first_seconds: float = 0.0


def choose(
    monkeypatch: pytest.MonkeyPatch, campaign: Campaign, data: DeviceData, measured: Mapping[str, Measured | Exception]
) -> str:
    """The choice beside a grouped stack of 2; programs that are not named fail."""
    tried: dict[str, int] = {}

    class Timed:
        """A measurement that was taken before."""

        def __init__(self, campaign: Campaign, data: DeviceData, choice: StackChoice, precision: str) -> None:
            name = f"{choice.size} {choice.program}"
            tried[name] = tried.get(name, -1) + 1
            result = measured.get(name, RuntimeError("no such program"))
            if isinstance(result, Exception):
                raise result
            self.seconds, self.first_seconds = choice.size * result.seconds, result.first_seconds
            self.losses = torch.full((5, choice.size), result.losses[tried[name]])

    monkeypatch.setattr(stack_calibration, "TimedStack", Timed)
    choice = faster_program(campaign, data, StackChoice(2), "bfloat16")
    return f"{choice.size} {choice.program}"


def test_the_fastest_program_that_computes_the_same_is_chosen(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = {"epochs": 500, "batch_size": 500}
    campaign = small_campaign(recipe=recipe, subsets={"ratios": [0.5], "repetitions": 600, "seed": 0})
    data = on_device(campaign, digits)  # 600 models, 1,000 updates each
    base = {"2 grouped": Measured(0.010), "2 streams": Measured(0.008), "4 streams": Measured(0.007)}
    slow = {**base, "8 streams": Measured(0.0068)}
    other_losses, other_bits = Measured(0.001, [1.1, 1.1]), Measured(0.001, [1.0, 1.0001])
    compiled_streams = {"4 streams, compiled": Measured(0.003, first_seconds=100)}
    cases: list[tuple[Mapping[str, Measured | Exception], str]] = [
        ({"2 grouped": Measured(0.010)}, "2 grouped"),
        (slow, "4 streams"),
        ({**base, "2 streams": other_losses}, "2 grouped"),
        ({**base, "2 streams": other_bits}, "2 grouped"),
        ({**base, "4 streams": torch.OutOfMemoryError("no memory")}, "2 streams"),
        ({**slow, **compiled_streams}, "4 streams, compiled"),
        ({**slow, "4 streams, compiled": Measured(0.003, first_seconds=4000)}, "4 streams"),
        ({**slow, "4 streams, compiled": other_bits}, "4 streams"),
        ({**slow, "4 streams, compiled": ValueError("a compiler")}, "4 streams"),
        ({"2 grouped": Measured(0.0001), "2 grouped, compiled": Measured(0.00001)}, "2 grouped"),
    ]
    for measured, expected in cases:
        assert choose(monkeypatch, campaign, data, measured) == expected, measured
