"""Memory of models: what is refused before it is built, and how bytes are counted."""

import re
from contextlib import suppress

import pytest
import torch
from torch import nn

from orchestrator.campaigns.memory_check import needs_in
from orchestrator.campaigns.preflight import check_campaign_fits
from tests.conftest import small_campaign
from workers.campaign.model_spec import MLP, ModelSpec, ResNet9, SmallCNN, ViT
from workers.datasets import load_dataset
from workers.errors import ModelError
from workers.models import build_model
from workers.models.memory import activation_bytes, estimated_bytes, evaluation_bytes, training_bytes
from workers.training import Engine, Precision, SequentialEngine, StackedEngine
from workers.training.memory import check_training_memory
from workers.training.memory_needs import MemoryNeeds

RESNET9_SIZE = (
    9 * (3 * 64 + 2 * 128 * 128 + 128 * 256 + 2 * 256 * 256 + 256 * 128)  # 3 x 3 convolutions
    + 25 * 64 * 128  # the 5 x 5 convolution
    + 2 * (64 + 3 * 128 + 3 * 256 + 128)  # batch normalisation
    + 128 * 10
)


@pytest.mark.parametrize(
    ("spec", "shape", "message"),
    [
        (MLP(hidden=(65_536, 65_536)), (1, 8, 8), "at most 75,000,000 parameters, got 4,299,948,042; LONGTAIL_MAX_"),
        (MLP(hidden=(65_536,) * 100), (1, 8, 8), "got 425,213,165,578"),
        (ResNet9(name="resnet9"), (3, 1024, 1024), r"at most 32 MB in a layer for an example .* got 256 MB"),
    ],
)
def test_a_model_of_any_size_is_refused_before_it_takes_memory(
    spec: ModelSpec, shape: tuple[int, ...], message: str
) -> None:
    state = torch.get_rng_state()
    with pytest.raises(ModelError, match=message):
        build_model(spec, shape, 10)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "shape", "batch", "message"),
    [
        (
            MLP(hidden=(65_536,)),
            (1, 28, 28),
            42_000,
            "^recipe.batch_size: .* mlp on minibatches of 42,000 ",
        ),
        (ViT(name="vit", patch_size=1), (3, 32, 32), 128, r"^recipe.batch_size: training model vit .* takes 25,"),
        (ViT(name="vit", patch_size=1), (3, 32, 32), 1, r"^model: evaluating model vit on 2,000 .* takes 76,"),
    ],
)
def test_training_that_takes_gigabytes_is_refused(
    monkeypatch: pytest.MonkeyPatch, spec: ModelSpec, shape: tuple[int, ...], batch: int, message: str
) -> None:
    campaign = small_campaign(recipe={"epochs": 1, "batch_size": batch}, subsets={"ratios": [0.7], "repetitions": 2})
    campaign = campaign.model_copy(update={"model": spec})

    def check(engine: Engine) -> None:
        check_training_memory(campaign, engine, shape, 10, (60_000, 10_000))

    with pytest.raises(ModelError, match=message) as caught:
        check(SequentialEngine())
    assert "at most 1,280 MB are allowed on a CPU" in str(caught.value)
    for _ in range(2):  # of training, then of evaluating
        with suppress(ModelError):
            check(SequentialEngine())
            return
        name, value = re.findall(r"(LONGTAIL_MAX_PARAMETERS)=(\d+)", str(caught.value))[0]
        monkeypatch.setenv(name, str(int(value) * 4))
    check(SequentialEngine())


def test_a_stack_takes_the_memory_of_all_its_models() -> None:
    campaign = small_campaign(recipe={"epochs": 1, "batch_size": 512}, subsets={"ratios": [0.5], "repetitions": 2})
    campaign = campaign.model_copy(update={"model": SmallCNN(name="small-cnn")})
    check_training_memory(campaign, StackedEngine(4), (1, 28, 28), 10, (60_000, 10_000))
    with pytest.raises(ModelError, match="training 1000000 models small-cnn on minibatches of 512"):
        check_training_memory(campaign, StackedEngine(1_000_000), (1, 28, 28), 10, (60_000, 10_000))


def test_memory_is_counted_as_it_is_taken() -> None:
    """Against sums by hand: a linear layer of 1,000 inputs and 3,000 outputs, and ReLU."""

    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(1000, 3000), nn.ReLU(), nn.Linear(3000, 10))

    rows, weights = 4 * 50_000, 4 * (3000 * 1001 + 10 * 3001)
    assert evaluation_bytes(build, (1000,), 50_000) == rows * (1000 + 3000 + 3000)
    training = training_bytes(build, (1000,), 50_000)
    assert estimated_bytes(build, (1000,), 50_000, training=True) == training
    assert estimated_bytes(build, (1000,), 50_000, training=False) == evaluation_bytes(build, (1000,), 50_000)
    assert 1 < (training - 3 * weights) / (rows * (1000 + 2 * 3000)) < 1.5
    activations = activation_bytes(build, (1000,), 50_000, simulated=True)
    assert activation_bytes(build, (1000,), 50_000, simulated=False) == activations

    def deep() -> nn.Module:
        return nn.Sequential(*(nn.Linear(1000, 1000) for _ in range(4)))

    layer = 4 * 1000 * 1001
    assert layer < activation_bytes(deep, (1000,), 2, simulated=False) < 1.1 * layer, "a gradient is freed at once"
    assert training_bytes(deep, (1000,), 2) > (8 + 4) * layer


DROPOUT = {"name": "user_code:dropout_model", "options": {"width": 8}}
OPTIMIZERS: list[tuple[dict[str, object], float]] = [
    ({"optimizer": {"name": "sgd", "learning_rate": 0.1}}, 1),
    ({"optimizer": {"name": "adamw", "learning_rate": 0.1}}, 2),
    ({"optimizer": {"name": "adamw", "learning_rate": 0.1}, "lookahead": {"every": 1}}, 3),
]


@pytest.mark.parametrize(("recipe", "states"), OPTIMIZERS)
@pytest.mark.parametrize("model", [{"name": "mlp", "hidden": [8]}, DROPOUT], ids=["mlp", "own"])
def test_what_a_model_takes_is_the_sum_of_its_parts(
    recipe: dict[str, object], states: float, model: dict[str, object]
) -> None:
    dataset = load_dataset(small_campaign().dataset)

    def needs(batch: int, precision: Precision = "float32") -> MemoryNeeds:
        campaign = small_campaign(model=model, recipe={"epochs": 2, "batch_size": batch, **recipe})
        return needs_in(campaign, dataset, check_campaign_fits(campaign, dataset), precision)

    small, large, half = needs(64), needs(256), needs(256, "bfloat16")
    assert (
        small.gradients
        == small.weights
        == 4
        * sum(
            parameter.numel()
            for parameter in build_model(small_campaign(model=model).model, (1, 8, 8), 10).parameters()
        )
    )
    assert round(small.optimizer / small.weights, 1) == states
    assert large.activations == pytest.approx(4 * small.activations, rel=0.05)
    assert small.activations >= 64 * 4 * (64 + 8 + 10)
    assert (half.weights, half.gradients) == (small.weights * 3 // 2, small.gradients)
    assert half.activations == large.activations // 2
    assert large.total == large.weights + large.gradients + large.optimizer + large.activations
