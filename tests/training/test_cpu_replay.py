"""Steps that are recorded and played: the same bits as of those that are gone through, whatever the model does."""

import gc
import linecache
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import torch

from tests.conftest import small_campaign
from workers.models import build_model
from workers.models.stacking import StackedModel
from workers.training.augmentation import DRAWS
from workers.training.cpu_replay import CALLS_BEFORE_RECORDING, ReplayedStep, record
from workers.training.device_data import DeviceData
from workers.training.optimizers import Update
from workers.training.pixel_sources import ResidentPixels
from workers.training.training_step import Gradients

TensorFunction = Callable[..., Any]

CPU = torch.device("cpu")
SHAPE, BATCH, CLASSES = (3, 16, 16), 6, 10
MODELS: dict[str, Mapping[str, object]] = {
    "mlp": {"name": "mlp", "hidden": [8, 8]},
    "small-cnn": {"name": "small-cnn", "width": 4},
    "resnet9": {"name": "resnet9", "width": 4},
    "airbench": {"name": "airbench", "widths": [4, 8, 8]},
    "dropout": {"name": "user_code:dropout_model", "options": {"width": 8}},
    "layers": {"name": "user_code:many_layers"},
}
CASES = [(3, torch.float32, model) for model in MODELS if model != "airbench"]
CASES += [(1, torch.bfloat16, model) for model in ("airbench", "dropout")]


def random_data() -> DeviceData:
    draw = torch.Generator().manual_seed(1)
    images = ResidentPixels(torch.randint(256, (50, *SHAPE), generator=draw, dtype=torch.uint8))
    labels = torch.randint(CLASSES, (50,), generator=draw)
    mean, std, fill = (torch.full((SHAPE[0], 1, 1), value) for value in (0.4, 0.3, 0.1))
    noisy = torch.zeros(len(labels), dtype=torch.bool)
    return DeviceData(images, labels, images, labels, mean, std, fill, CLASSES, noisy)


def trained(
    model: Mapping[str, object], count: int, dtype: torch.dtype, how: Callable[[TensorFunction], TensorFunction]
) -> Iterator[list[torch.Tensor]]:
    """What some steps return, and all weights and statistics after them."""
    campaign = small_campaign(
        model=model,
        recipe={
            "epochs": 1,
            "batch_size": BATCH,
            "label_smoothing": 0.1,
            "augmentation": {"flip": True, "translate": 2, "cutout": 4},
        },
        record={"presentations": True, "probabilities": True},
    )
    torch.manual_seed(0)
    data, models = random_data(), [build_model(campaign.model, SHAPE, CLASSES) for _ in range(count)]
    stack = StackedModel(models, dtype, CPU)
    stack.draw_from([torch.Generator().manual_seed(each) for each in range(count)])
    stack.train(True)
    update = Update(stack.weights, campaign.recipe.optimizer)
    take, draw = how(Gradients(campaign, data, stack, update)), torch.Generator().manual_seed(2)
    for _ in range(CALLS_BEFORE_RECORDING + 4):
        index = torch.randint(50, (count, BATCH), generator=draw)
        changes = torch.randint(3, (DRAWS, count, BATCH), generator=draw)
        outputs, gradients = take(data.train_images.select(index.flatten()), index, changes)
        update.apply(gradients)
        yield [*outputs, *(gradient for gradient in gradients if gradient is not None)]
    yield [each.clone() for each in stack.training_graph.state_dict().values()]


@pytest.mark.slow
@pytest.mark.parametrize(("count", "dtype", "model"), CASES, ids=str)
def test_training_by_played_steps_has_the_same_bits(model: str, count: int, dtype: torch.dtype) -> None:
    played: list[ReplayedStep[Any]] = []

    def playing(function: TensorFunction) -> TensorFunction:
        played.append(ReplayedStep(function))
        return played[0]

    plain = trained(MODELS[model], count, dtype, lambda function: function)
    for one, other in zip(plain, trained(MODELS[model], count, dtype, playing), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
    assert [recording is not None for recording in played[0].recordings.values()] == [True]


def test_what_is_not_an_argument_stays_itself() -> None:
    """Weights that changed, statistics that are changed, generators that go on."""
    weight, total, generator = torch.ones(3, requires_grad=True), torch.zeros(3), torch.Generator().manual_seed(0)

    def function(x: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        total.add_(x)
        noise = torch.empty(3).uniform_(generator=generator)
        parts = (x * weight[None, :].t()[:, 0] * noise).split([1, 2])
        return x, None, *torch.autograd.grad(parts[1].square().sum(), [weight]), *(part.detach() for part in parts)

    _, recording = record(function, (torch.tensor([5.0, 6.0, 7.0]),))
    assert recording is not None
    with torch.no_grad():
        weight.mul_(3)
    x, state = torch.tensor([1.0, 2.0, 3.0]), generator.get_state()
    told = recording(x)
    assert total.tolist() == [6.0, 8.0, 10.0]
    generator.set_state(state)
    expected = function(x)
    assert told[0] is x
    assert told[1] is None
    torch.testing.assert_close(told[2:], expected[2:], rtol=0, atol=0)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (x * 2 if x.sum() > 0 else x,),
        lambda x: (x * x.max().item(),),
        lambda x: (x[x > 0].sum(),),
        lambda x: (x.repeat_interleave(x.relu().long()),),
        lambda x: (x.clone().unsqueeze_(0) + x,),
    ],
    ids=["branch", "number", "mask", "repeats", "laid-out-anew"],
)
def test_what_a_list_of_operations_does_not_tell_is_not_played(function: TensorFunction) -> None:
    played = ReplayedStep(function)
    for sign in [*[1] * (CALLS_BEFORE_RECORDING + 2), -1]:
        x = sign * torch.tensor([1.0, 2.0, -3.0, 4.0])
        torch.testing.assert_close(played(x), function(x))
    assert list(played.recordings.values()) == [None]


def test_each_shape_that_keeps_coming_is_recorded() -> None:
    weight = torch.arange(4.0)
    played = ReplayedStep(lambda x: (x @ weight[: x.shape[1]], x.sum()))
    for _ in range(CALLS_BEFORE_RECORDING + 3):
        for shape in ((2, 4), (3, 4), (2, 3)):
            x = torch.rand(shape)
            torch.testing.assert_close(played(x), (x @ weight[: x.shape[1]], x.sum()))
    played(torch.rand(5, 4))
    assert len(played.recordings) == 3


def test_stacks_of_one_architecture_share_a_program() -> None:
    """torch.fx keeps the source of every program for as long as the process lives."""

    def remember(weight: torch.Tensor) -> int:
        record(lambda x: (x * weight,), (torch.ones(3),))
        return len(linecache.cache)

    first = remember(torch.ones(3))
    assert [remember(torch.ones(3)) for _ in range(3)] == [first] * 3


def test_memory_is_free_once_nothing_is_played_any_more() -> None:
    weight = torch.ones(3)
    gone = weakref.ref(weight.untyped_storage())
    played = ReplayedStep(lambda x, weight=weight: (x * weight,))
    for _ in range(CALLS_BEFORE_RECORDING + 2):
        played(torch.ones(3))
    gc.disable()
    try:
        del played, weight
        assert gone() is None
    finally:
        gc.enable()
