"""Replays: a run's recorded bits come back, in both engines, and differences are told."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from typer.testing import CliRunner

from orchestrator import Replay, replay, run_campaign
from orchestrator.cli.app import app
from orchestrator.store_ops.replay import weights_sha256, write_weights
from tests.command import call
from tests.conftest import small_campaign
from workers.campaign.keys import Run, Shard
from workers.datasets import load_dataset
from workers.errors import CommandError, ReplayMismatchError
from workers.store import Store
from workers.training.device_data import load_on_device
from workers.training.evaluation import correct
from workers.training.recorded_run import record_differences, recorded_rows

CAMPAIGN = small_campaign(record={"epochs": "all", "outputs": ["margin", "prediction"], "presentations": True})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("replay") / "s"
    run_campaign(CAMPAIGN, path)
    return Store.open(path)


@pytest.fixture(scope="module")
def replayed(store: Store) -> Replay:
    return replay(store, "0.6/1")


def test_every_recorded_bit_comes_back(store: Store, replayed: Replay) -> None:
    """And the model predicts what the store has of its last epoch."""
    assert replayed.differences == ()
    assert replayed.run == Run(600_000, 1)
    dataset = load_dataset(CAMPAIGN.dataset)
    data = load_on_device(dataset, CAMPAIGN, store.given_labels(), torch.device("cpu"))
    assert not replayed.model.training
    with torch.no_grad():
        logits = replayed.model(data.scaled(torch.from_numpy(np.array(dataset.test_images))))
    right = correct(logits[None], data.test_labels)[0].numpy()
    assert (right == replayed.result.epochs[-1].test_correct).mean() >= replayed.agreement - 0.01 > 0.98


@pytest.mark.slow
@pytest.mark.parametrize("stack_size", [1, 2])
def test_augmented_networks_in_stacks_and_alone(stack_size: int, tmp_path: Path) -> None:
    campaign = small_campaign(
        model={"name": "small-cnn", "width": 4, "hidden": 8},
        recipe={
            "epochs": 2,
            "batch_size": 64,
            "augmentation": {"flip": "alternating", "translate": 1},
            "evaluation_flip": True,
            "precision": "bfloat16",
        },
        subsets={"ratios": [0.5], "repetitions": 3, "seed": 1},
        image_noise={"fraction": 0.2, "sd": 0.5},
    )
    run_campaign(campaign, tmp_path / "s", stack_size=stack_size)
    for repetition in (0, 2):
        assert replay(tmp_path / "s", f"0.5/{repetition}").differences == ()


def test_the_command_saves_the_weights(store: Store, replayed: Replay, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    done = CliRunner().invoke(app, ["replay", store.uri, "r600000-000001", "-o", str(path)])
    assert done.exit_code == 0, done.output
    assert "run r600000-000001: all recorded bits reproduced" in done.stdout
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        metadata = file.metadata()
    expected = replayed.model.state_dict()
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {
        name: tensor.tolist() for name, tensor in expected.items()
    }
    assert weights_sha256(tensors) in done.stdout.replace("\n", "")
    assert metadata["longtail.identity"] == store.header.identity
    assert json.loads(metadata["longtail.model"])["name"] == "mlp"
    assert json.loads(metadata["longtail.verified"]) is True


def test_other_bits_are_an_error_that_names_them(store: Store, replayed: Replay, tmp_path: Path) -> None:
    """One training example of the last epoch is recorded as wrong that is right."""
    *before, last = replayed.result.epochs
    flipped = last.train_correct.copy()
    flipped[7] = ~flipped[7]
    other = Store.create(tmp_path / "s", store.header, store.examples())
    result = replace(replayed.result, epochs=[*before, replace(last, train_correct=flipped)])
    other.commit(Shard(600_000, 1, 2), [result])
    with pytest.raises(ReplayMismatchError, match=r"r600000-000001 differs .*: .*train_correct at 1 of 2,874 values"):
        replay(other, "0.6/1")
    accepted = replay(other, "0.6/1", accept_differences=True)
    assert [text for text in accepted.differences if "train_correct" in text] == ["train_correct at 1 of 2,874 values"]
    done = CliRunner().invoke(app, ["replay", other.uri, "0.6/1", "-o", str(tmp_path / "m.safetensors")])
    assert done.exit_code == 1
    assert not (tmp_path / "m.safetensors").exists()


def test_the_epoch_that_differs_is_named(store: Store, replayed: Replay) -> None:
    first, *others = replayed.result.epochs
    other = replace(replayed.result, epochs=[replace(first, train_loss=0.5), *others])
    recorded = recorded_rows(store, replayed.run)
    assert list(record_differences(other, recorded, CAMPAIGN.record)) == [f"train_loss {first.train_loss!r}, now 0.5"]


def test_tied_weights_are_saved(store: Store, replayed: Replay, tmp_path: Path) -> None:
    """Safetensors refuses tensors that share memory."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
    model[1].weight = model[0].weight
    write_weights(store, replace(replayed, model=model), tmp_path / "m.safetensors")
    with safe_open(tmp_path / "m.safetensors", "pt") as file:
        assert torch.equal(file.get_tensor("0.weight"), file.get_tensor("1.weight"))


@pytest.mark.parametrize(
    ("run", "problem"),
    [
        ("0.6/9", r"run r600000-000009: is not in .*, which has 0.2/0 to 2, 0.6/0 to 2"),
        ("0.6", r"run: must be RATIO/REPETITION such as 0.7/12, .* got '0.6'"),
        ("1.7/0", r"run: must be RATIO/REPETITION"),
        ("r0600000-1", r"run: must be RATIO/REPETITION"),
    ],
)
def test_a_run_that_there_is_not(run: str, problem: str, store: Store) -> None:
    with pytest.raises(CommandError, match=problem):
        replay(store, run)
    assert call("replay", store.uri, run)[0] == 2
