"""Masks of stage dropout: their law, the same wherever they are drawn, and training with them in both engines."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from orchestrator.campaigns.preflight import check_fits_memory, make_header
from tests.conftest import small_campaign
from tests.training.test_cpu_replay import CPU
from tests.training.test_engines import on_device, told
from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run
from workers.datasets import Dataset, load_dataset
from workers.errors import ModelError
from workers.models import build_model
from workers.models.stacking import StackedModel
from workers.models.stage_dropout import SparseMask, example_tied, set_mode, show_examples
from workers.training import SequentialEngine, StackedEngine, stage_masks
from workers.training.engine import Engine
from workers.training.loop import StackTraining
from workers.training.stage_masks import mask_bytes, set_masks

N = 3000
RUNS = [Run(600_000, repetition) for repetition in range(3)]


def campaign(name: str = "example-tied", **options: Any) -> Campaign:
    """A network with two stages of equal width."""
    dropout: dict[str, Any] = {"name": name, **options}
    return small_campaign(
        model={"name": "mlp", "hidden": [50, 50], "stage_dropout": dropout},
        recipe={"epochs": 2, "batch_size": 32},
        subsets={"ratios": [0.6], "repetitions": 3, "seed": 7},
    )


def masks(planned: Campaign, count: int = N) -> list[np.ndarray[Any, Any]]:
    """bool[N, C] of each stage."""
    model = build_model(planned.model, (1, 8, 8), 10)
    set_masks(model, planned, count, CPU)
    every = torch.arange(count)
    return [each.masks.select(every).bool().numpy() for each in example_tied(model) if each.masks is not None]


def test_masks_have_the_stated_probabilities() -> None:
    """Generalization channels are always on; each other one with p_mem, by examples and by channels."""
    first, second = masks(campaign(p_gen=0.3, p_mem=0.1))
    assert first.shape == (N, 50)
    assert first[:, :15].all()
    assert second[:, :15].all()
    rest = first[:, 15:]
    low, high = stats.binom.interval(1 - 1e-6, rest.size, 0.1)
    assert low <= rest.sum() <= high
    for axis, trials in ((0, N), (1, 35)):
        low, high = stats.binom.interval(1 - 1e-6, trials, 0.1)
        assert (rest.sum(axis=axis) >= low).all()
        assert (rest.sum(axis=axis) <= high).all()


def test_each_stage_has_its_own_masks() -> None:
    """Not equal in stages of equal width, as where a generator is seeded by the example in each (agreement: 0.82)."""
    first, second = (each[:, 10:] for each in masks(campaign()))
    assert (first == second).mean() == pytest.approx(0.9**2 + 0.1**2, abs=0.01)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(first[:-1].ravel(), first[1:].ravel())[0, 1]) < 0.02


def test_masks_follow_from_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not from torch's generator, from how many rows are drawn at a time, or from the number of examples."""
    expected = masks(campaign())
    stage_masks._example_masks.cache_clear()
    torch.manual_seed(123)
    monkeypatch.setattr(stage_masks, "_CHUNK", 777)
    again, fewer = masks(campaign()), masks(campaign(), 100)
    for one, other, part in zip(expected, again, fewer, strict=True):
        assert (one == other).all()
        assert (one[:100] == part).all()
    document = campaign().model_dump(mode="json")
    document["subsets"]["seed"] = 8
    assert (masks(small_campaign(**document))[0] != expected[0]).any()


def test_a_sparse_network_has_the_same_channels_in_all_runs() -> None:
    found = []
    for _ in range(2):
        model = build_model(campaign("sparse").model, (1, 8, 8), 10)
        set_masks(model, campaign("sparse"), N, CPU)
        found.append([module.mask for module in model.modules() if isinstance(module, SparseMask)])
    (one, other), again = found
    assert one is not None
    assert other is not None
    assert (int(one.sum()), int(other.sum())) == (10, 10)
    assert not torch.equal(one, other)
    assert all(torch.equal(a, b) for a, b in zip((one, other), again, strict=True) if b is not None)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    """The digits."""
    return load_dataset(small_campaign().dataset)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"), [("example-tied", {"p_gen": 0.5, "p_mem": 0.3}), ("sparse", {"keep": 0.5})]
)
def test_engines_agree(name: str, options: dict[str, Any], digits: Dataset) -> None:
    """Both engines, stacks of one and three: with streamed, augmented images, all but rounding."""
    dropout: dict[str, Any] = {"name": name, **options}
    planned = small_campaign(
        model={"name": "mlp", "hidden": [60, 60], "stage_dropout": dropout},
        recipe={
            "epochs": 4,
            "batch_size": 32,
            "optimizer": {"name": "sgd", "learning_rate": 0.1},
            "augmentation": {"translate": 1},
        },
    )
    data = on_device(planned, digits, streamed=True)
    engines: list[Engine] = [SequentialEngine(), StackedEngine(1), StackedEngine(3)]
    results = [engine.train(planned, data, RUNS) for engine in engines]
    assert max(result.epochs[-1].train_loss for result in results[0]) < 2.1, "untrained models agree too"
    for others in results[1:]:
        for one, other in zip(results[0], others, strict=True):
            assert one.epochs[-1].train_loss == pytest.approx(other.epochs[-1].train_loss, rel=1e-3)
            assert (
                one.epochs[-1].train_correct != other.epochs[-1].train_correct
            ).mean() < 0.05  # by the processor 0.5 to 3%
    resident = on_device(planned, digits, streamed=False)
    assert told(StackedEngine(3).train(planned, resident, RUNS)) == told(results[2])


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        ("example-tied", SequentialEngine()),
        ("example-tied", StackedEngine(3, "bfloat16")),
        ("standard", StackedEngine(3)),
    ],
    ids=["example-tied", "example-tied-stack", "standard-stack"],
)
def test_a_kill_between_epochs_changes_no_bit(name: str, engine: Engine, digits: Dataset) -> None:
    """A new training that takes the state over ends as the first; no state has a mask of examples."""
    planned = campaign(name, **({} if name == "example-tied" else {"keep": 0.5}))
    data, runs = on_device(planned, digits), RUNS[: engine.size]

    def begin() -> StackTraining:
        torch.manual_seed(99)
        return StackTraining(planned, runs, data, lambda: engine.start(planned, data, runs))

    whole = begin()
    whole.advance()
    state = whole.trainer.state()
    kept = {name: tensor.clone() for name, tensor in state.tensors.items()}
    assert all(len(tensor) < 1000 or "generator" in name for name, tensor in kept.items() if tensor.ndim == 2)
    streams = [{name: dict(value) for name, value in stream.items()} for stream in state.streams]
    whole.advance()
    stage_masks._example_masks.cache_clear()
    resumed = begin()
    resumed.trainer.restore(type(state)(kept, state.step, streams))
    losses = resumed.trainer.train_epoch().losses
    assert losses == [result.epochs[-1].train_loss for result in whole.results()]


@pytest.mark.parametrize("model", [{"name": "mlp", "hidden": [50, 50]}, {"name": "small-cnn", "width": 6, "hidden": 9}])
def test_a_stack_multiplies_each_models_examples_by_their_own_masks(model: dict[str, object]) -> None:
    planned = small_campaign(model={**model, "stage_dropout": {"name": "example-tied"}})
    models = [build_model(planned.model, (1, 8, 8), 10) for _ in range(3)]
    for each in models:
        set_masks(each, planned, N, CPU)
    stack, index = StackedModel(models), torch.randint(N, (3, 5))
    images = torch.rand(15, 1, 8, 8)
    for training, mode in ((True, "drop"), (False, "drop"), (False, "scaled"), (False, "own")):
        stack.train(training)
        set_mode(stack.layers, mode)  # type: ignore[arg-type]
        stack.show_examples(index)
        apart = []
        for one, part, examples in zip(models, images.chunk(3), index, strict=True):
            set_mode(one.train(training), mode)  # type: ignore[arg-type]
            show_examples(example_tied(one), examples)
            apart.append(one(part))
        torch.testing.assert_close(stack(images), torch.cat(apart))


def test_training_without_masks_is_refused() -> None:
    model = build_model(campaign().model, (1, 8, 8), 10)
    with pytest.raises(RuntimeError, match="has no masks: call set_masks"):
        show_examples(example_tied(model), torch.arange(2))


@pytest.mark.slow
def test_dropping_forgets_the_noisy_labels(digits: Dataset) -> None:
    """Fitted with their own channels, noisy labels are lost without them, while clean ones stay."""
    planned = small_campaign(
        model={"name": "mlp", "hidden": [256, 256], "stage_dropout": {"name": "example-tied"}},
        recipe={"epochs": 12, "batch_size": 64, "optimizer": {"name": "sgd", "learning_rate": 0.3}},
        label_noise={"fraction": 0.1},
        subsets={"ratios": [1.0], "repetitions": 1},
    )
    data = on_device(planned, digits)
    trainer: Any = StackedEngine(1).start(planned, data, [Run(1_000_000, 0)])
    for _ in range(12):
        trainer.train_epoch()
    noisy = data.train_labels.numpy() != np.asarray(digits.train_labels)
    dropped = trainer.evaluate().train_correct[0]
    every = torch.arange(len(noisy))
    set_mode(trainer.stack.layers, "own")
    trainer.stack.show_examples(every[None])
    own = (trainer.stack(data.scaled(data.train_images.select(every))).argmax(dim=1) == data.train_labels).numpy()
    assert own[noisy].mean() > 0.8
    assert dropped[noisy].mean() < 0.25
    assert dropped[~noisy].mean() > 0.85


def test_masks_count_as_memory(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = campaign()
    model = build_model(planned.model, (1, 8, 8), 10)
    assert mask_bytes(model, 1000) == 2 * 1000 * 7
    monkeypatch.setattr("workers.training.memory.mask_bytes", lambda model, count: 3 << 30)
    header = make_header(planned, digits)
    with pytest.raises(ModelError, match="model.stage_dropout: the masks of 1,437 examples takes 3,072 MB"):
        check_fits_memory(planned, digits, header)
