"""Airbench's recipe: Lookahead, the rate of batch norms' biases and alternating flips, beside its loop by hand."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from orchestrator.campaigns.preflight import check_campaign_fits
from tests.conftest import small_campaign
from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run
from workers.campaign.recipe import Lookahead
from workers.datasets import Dataset, load_dataset
from workers.errors import CampaignError
from workers.models.stacking import Weight
from workers.subsets.draw import Purpose, generator
from workers.training import SequentialEngine, StackedEngine
from workers.training.device_data import DeviceData, load_on_device
from workers.training.dtype import Precision
from workers.training.lookahead import SlowWeights
from workers.training.loop import Trainer
from workers.training.minibatch_streams import MinibatchStreams
from workers.training.model_init import initial_model

CPU = torch.device("cpu")
EPOCHS, BATCH = 3, 4
RUNS = [Run(600_000, repetition) for repetition in range(3)]
SGD = {"name": "sgd", "learning_rate": 0.05, "momentum": 0.85, "nesterov": True, "weight_decay": 0.02}
MUON = {"name": "muon", "learning_rate": 0.02, "others": {**SGD, "norm_bias_factor": 8.0}}


def campaign_of(optimizer: dict[str, object], **recipe: object) -> Campaign:
    return small_campaign(
        dataset={"name": "user_code:pictures"},
        model={"name": "airbench", "widths": [4, 6, 6]},
        recipe={
            "epochs": EPOCHS,
            "batch_size": BATCH,
            "drop_last": True,
            "optimizer": optimizer,
            "schedule": {"name": "triangular", "peak_epoch": 0.75, "start": 0.2, "final": 0.07},
            "lookahead": {},
            "label_smoothing": 0.2,
            "input_scaling": "standardize",
            "initialization": {"whitening": True},
            "augmentation": {"flip": "alternating"},
            **recipe,
        },
    )


CAMPAIGN = campaign_of({**SGD, "norm_bias_factor": 8.0})


@pytest.fixture(scope="module")
def data() -> DeviceData:
    """The pictures on the CPU."""
    dataset: Dataset = load_dataset(CAMPAIGN.dataset)
    return load_on_device(dataset, CAMPAIGN, np.array(dataset.train_labels), CPU)


def trained(trainer: Trainer, epochs: int = EPOCHS) -> Trainer:
    for _ in range(epochs):
        trainer.train_epoch()
    return trainer


def by_hand(data: DeviceData, run: Run) -> dict[str, torch.Tensor]:
    """Airbench's training loop, of the given run's model and examples, without anything of Longtail's training."""
    model = initial_model(CAMPAIGN, data, run)
    named = [(name, each) for name, each in model.named_parameters() if each.requires_grad]
    biases = [each for name, each in named if name.endswith("bias") and name != "0.bias"]
    others = [each for name, each in named if not name.endswith("bias") or name == "0.bias"]
    assert (len(biases), len(others)) == (6, 8)
    rate, decay = 0.05, 0.05 * 0.02
    groups = [
        {"params": biases, "lr": 8 * rate, "weight_decay": decay / (8 * rate)},
        {"params": others, "lr": rate, "weight_decay": decay / rate},
    ]
    optimizer = torch.optim.SGD(groups, momentum=0.85, nesterov=True)
    members = MinibatchStreams(CAMPAIGN, data, run).members
    total = EPOCHS * (len(members) // BATCH)

    def factor(step: int) -> float:
        share = step / (total / 4)
        if share < 1:
            return 0.2 * (1 - share) + share
        share = (step - total / 4) / (total - total / 4)
        return 1 - share + 0.07 * share

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    slow = copy.deepcopy(model.state_dict())

    def look(kept: float) -> None:
        for mean, value in zip(slow.values(), model.state_dict().values(), strict=True):
            if value.is_floating_point():
                mean.lerp_(value, 1 - kept)
                value.copy_(mean)

    images = data.scaled(data.train_images.select(torch.arange(len(data.train_labels))))
    mirrored = torch.from_numpy(generator(CAMPAIGN, Purpose.FLIP, run).integers(0, 2, len(images)))
    images = torch.where(mirrored[:, None, None, None] == 1, images.flip(-1), images)
    order, step = generator(CAMPAIGN, Purpose.ORDER, run), 0
    for epoch in range(EPOCHS):
        shown = order.permutation(members)
        for start in range(0, len(members) - BATCH + 1, BATCH):
            batch = torch.from_numpy(shown[start : start + BATCH])
            inputs = images[batch].flip(-1) if epoch % 2 else images[batch]
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), data.train_labels[batch], label_smoothing=0.2).backward()
            optimizer.step()
            scheduler.step()
            step += 1
            with torch.no_grad():
                if step % 5 == 0:
                    look(0.95**5 * (step / total) ** 3)
                if step == total:
                    look(1.0)
    return model.state_dict()


@pytest.mark.slow
def test_a_run_is_airbenchs_loop(data: DeviceData) -> None:
    """Whose last two updates, of 12, are undone by the slow weights."""
    trainer = trained(SequentialEngine().start(CAMPAIGN, data, RUNS[:1]))
    torch.testing.assert_close(trainer.weights_of(0), by_hand(data, RUNS[0]), rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "precision", "tolerance"), [(SGD, "float32", 1e-3), (MUON, "float32", 1e-3), (MUON, "bfloat16", 0.2)]
)
def test_stacks_of_one_and_three_are_the_sequential_engine(
    optimizer: dict[str, object], precision: Precision, tolerance: float, data: DeviceData
) -> None:
    campaign = campaign_of(optimizer)
    stack = trained(StackedEngine(3, precision).start(campaign, data, RUNS))
    start = initial_model(campaign, data, RUNS[1]).state_dict()
    start = {name: tensor for name, tensor in start.items() if tensor.is_floating_point()}
    one = trained(StackedEngine(1, precision).start(campaign, data, RUNS[1:2])).weights_of(0)
    alone = trained(SequentialEngine(precision).start(campaign, data, RUNS[1:2])).weights_of(0)
    for other in (stack.weights_of(1), one):
        for name, tensor in start.items():
            moved = (alone[name] - tensor).norm()
            assert (other[name] - alone[name]).norm() <= tolerance * moved + 1e-4, name
    assert (alone["2.weight"] - start["2.weight"]).norm() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    "engine",
    [SequentialEngine(), StackedEngine(3), StackedEngine(3, "bfloat16")],
    ids=["sequential", "stacked", "stacked in bfloat16"],
)
@pytest.mark.parametrize("optimizer", [SGD, MUON], ids=lambda optimizer: optimizer["name"])
def test_a_resumed_run_has_the_same_bits(
    optimizer: dict[str, object], engine: SequentialEngine | StackedEngine, data: DeviceData
) -> None:
    """After an epoch whose last update was not one that slow weights follow; the next epoch's flips are the other."""
    campaign = campaign_of(optimizer)
    whole = engine.start(campaign, data, RUNS[: engine.size])
    state = copy.deepcopy(trained(whole, epochs=1).state())
    resumed = engine.start(campaign, data, RUNS[: engine.size])
    resumed.restore(state)
    expected, found = (trained(each, epochs=2).state().tensors for each in (whole, resumed))
    assert expected.keys() == found.keys()
    assert [name for name, tensor in found.items() if not torch.equal(tensor, expected[name])] == []


def test_flips_alternate_and_differ_between_runs(data: DeviceData) -> None:
    streams = [MinibatchStreams(CAMPAIGN, data, run) for run in RUNS]
    mirrored = np.full((3, 4, 32), -1)
    for place, stream in enumerate(streams):
        for epoch in range(4):
            stream.draw_ahead()
            order, changes = stream.next_epoch()
            assert changes is not None
            mirrored[place, epoch, order] = changes[0]
    both = (mirrored[:, :-1] >= 0) & (mirrored[:, 1:] >= 0)
    assert (mirrored[:, :-1] + mirrored[:, 1:] == 1)[both].all()
    first = mirrored[:, 0]
    assert 0 < first[first >= 0].mean() < 1
    assert len({tuple(each) for each in first}) == 3


@pytest.mark.parametrize("copied", [False, True])
def test_constant_lookahead_is_the_papers(copied: bool) -> None:
    """Zhang et al. (2019), algorithm 1: k steps of fast weights, then slow <- slow + alpha (fast - slow); also where
    the program computes with a copy of the weights."""
    random = torch.Generator().manual_seed(0)
    master = torch.randn(3, 5, generator=random)
    working = nn.Parameter(master.bfloat16() if copied else master)
    looking = SlowWeights(Lookahead(every=3, decay=0.5 ** (1 / 3), power=0), [Weight(master, working)], [])
    slow = fast = master.double().clone()
    for step in range(1, 9):
        move = torch.randn(3, 5, generator=random)
        master += move
        fast = fast + move.double()
        if step % 3 == 0:
            slow = fast = slow + 0.5 * (fast - slow)
        looking.follow(step, 8)
        torch.testing.assert_close(master.double(), slow if step == 8 else fast, rtol=1e-5, atol=1e-6)
    assert torch.equal(working, master.bfloat16() if copied else master)


@pytest.mark.parametrize(
    ("recipe", "model", "message"),
    [
        (
            {"optimizer": {"name": "sgd", "norm_bias_factor": 2.0}},
            {"name": "mlp"},
            "recipe.optimizer.norm_bias_factor: is for the biases of batch norms, and model mlp has none, got 2",
        ),
        (
            {"optimizer": {"name": "muon", "others": {"name": "adamw", "norm_bias_factor": 0.5}}},
            {"name": "mlp"},
            "recipe.optimizer.others.norm_bias_factor: is for the biases of batch norms, and model mlp has none, "
            "got 0.5",
        ),
        (
            {"optimizer": {"name": "muon"}},
            {"name": "mlp", "hidden": []},
            "recipe.optimizer: muon is for the matrices of hidden layers, and model mlp has none: "
            "give sgd, adam or adamw",
        ),
        (
            {"lookahead": {"every": 7}},
            {"name": "mlp"},
            "recipe.lookahead.every: must be at most 2, the updates of a run at ratio 0.2, got 7",
        ),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    recipe: dict[str, object], model: dict[str, object], message: str
) -> None:
    campaign = small_campaign(model=model, recipe={"epochs": 2, "batch_size": 300, **recipe})
    with pytest.raises(CampaignError) as caught:
        check_campaign_fits(campaign, load_dataset(campaign.dataset))
    assert str(caught.value) == message


@pytest.mark.parametrize("factor", [0, 1e-7, 1e7])
def test_factors_that_float32_cannot_apply_are_refused(factor: float) -> None:
    """Weight decay is divided by it: with 1e-300 that was infinite, and all runs diverged."""
    with pytest.raises(ValueError, match="norm_bias_factor"):
        small_campaign(recipe={"epochs": 2, "batch_size": 8, "optimizer": {"name": "sgd", "norm_bias_factor": factor}})


def test_left_out_fields_are_not_part_of_the_identity() -> None:
    """Of campaigns that were there before the fields; given, each is."""
    plain = small_campaign(recipe={"epochs": 2, "batch_size": 8}).identity("x")
    changes: list[Callable[[], dict[str, object]]] = [
        lambda: {"lookahead": {}},
        lambda: {"optimizer": {"name": "sgd", "norm_bias_factor": 2.0}},
        lambda: {"augmentation": {"flip": "alternating"}},
        lambda: {"augmentation": {"flip": True}},
        lambda: {"optimizer": {"name": "muon"}},
        lambda: {"optimizer": {"name": "muon", "others": {"name": "sgd"}}},
    ]
    found = {small_campaign(recipe={"epochs": 2, "batch_size": 8, **change()}).identity("x") for change in changes}
    assert len(found | {plain}) == 7
