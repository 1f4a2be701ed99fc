"""Correctness in the modes of example-tied dropout, of runs in a store, against their models trained again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator import run_campaign
from tests.conftest import small_campaign
from tests.probes.test_stack_probes import values
from tests.training.test_engines import on_device
from workers.campaign.keys import Run
from workers.datasets import load_dataset
from workers.errors import CampaignError
from workers.models.stage_dropout import MODES, set_mode
from workers.store import Store
from workers.training import StackedEngine

PARTS: dict[str, Any] = {
    "model": {"name": "mlp", "hidden": [60, 60], "stage_dropout": {"name": "example-tied", "p_gen": 0.4}},
    "recipe": {"epochs": 8, "batch_size": 32, "optimizer": {"name": "sgd", "learning_rate": 0.2}},
    "label_noise": {"fraction": 0.1},
    "subsets": {"ratios": [0.6], "repetitions": 2, "seed": 7},
    "record": {"probes": {"dropout": True, "repetitions": 1}},
}


@pytest.mark.slow
def test_modes_in_a_store_are_those_of_the_models(tmp_path: Path) -> None:
    """A model's sums are rounded differently in a stack: one borderline example in a hundred may differ."""
    planned = small_campaign(**PARTS)
    run_campaign(planned, tmp_path / "s", shard_size=2)
    store = Store.open(str(tmp_path / "s"))
    (shard,) = store.shards()
    table = store.read(shard)
    right, correct = (values(tmp_path / "s", f"probe_dropout_{name}")[1] for name in ("right", "correct"))
    assert (right[1] == -1).all(), "the second repetition is not measured"
    assert not correct[1].any()

    dataset = load_dataset(planned.dataset)
    data = on_device(planned, dataset)
    trainer: Any = StackedEngine(2).start(planned, data, [Run(600_000, k) for k in range(2)])
    for _ in range(planned.recipe.epochs):
        trainer.train_epoch()
    subset, every = trainer.subsets[0], torch.arange(len(data.train_labels))
    noisy = data.train_labels.numpy() != np.asarray(dataset.train_labels)
    groups = [subset & ~noisy, subset & noisy, ~subset]
    trainer.stack.train(False)
    trainer.stack.show_examples(torch.stack([every, every]))
    train, test = (data.scaled(each.select(torch.arange(len(each)))) for each in (data.train_images, data.test_images))
    for place, mode in enumerate(MODES):
        set_mode(trainer.stack.layers, mode)
        own = trainer.stack(torch.cat([train, train]))[: len(every)].argmax(dim=1).eq(data.train_labels).numpy()
        assert np.abs(right[0, place, :3] - [np.count_nonzero(own[group]) for group in groups]).max() <= 3
        if mode != "drop":
            assert (correct[0, place - 1] != own).mean() < 0.01
        if mode == "own":
            assert right[0, place, 3] == -1
        else:
            labels = trainer.stack(torch.cat([test, test]))[: len(test)].argmax(dim=1)
            assert abs(right[0, place, 3] - int((labels == data.test_labels).sum())) <= 3
    recorded = store.bits(shard, table, "train_correct")[0]
    assert np.abs(right[0, 0, :3] - [np.count_nonzero(recorded[group]) for group in groups]).max() <= 3
    assert right[0, 2, 1] > right[0, 0, 1] + 10, "noisy labels are known with their own channels alone"


def test_a_model_without_example_tied_dropout_is_refused(tmp_path: Path) -> None:
    for dropout in (None, {"name": "sparse"}):
        planned = small_campaign(**{**PARTS, "model": {"name": "mlp", "stage_dropout": dropout}})
        with pytest.raises(CampaignError) as caught:
            run_campaign(planned, tmp_path / "s")
        assert str(caught.value) == (
            "record.probes.dropout: needs a model with example-tied dropout (model.stage_dropout: {name: example-tied})"
        )
        assert not (tmp_path / "s").exists()
