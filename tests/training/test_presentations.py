"""Presentations: what training gets right of each example before it learns from it, recorded as it trains."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from analysis.reading.sequences import RunSequence, scan_sequences
from orchestrator import run_campaign
from orchestrator.store_ops.compact import compact_store
from orchestrator.store_ops.verify import verify_store
from tests.conftest import small_campaign
from tests.stores import new_store, results
from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run, Shard
from workers.datasets import Dataset, load_dataset
from workers.errors import CampaignError
from workers.store import RunResult, Store
from workers.store.schema import PRESENTED, PRESENTED_VALUES
from workers.store.training_statistics import TRAINING_STATISTICS
from workers.subsets.draw import Purpose, draw_subset, generator, integer_seed
from workers.training import SequentialEngine, StackedEngine
from workers.training.device_data import DeviceData, load_on_device
from workers.training.evaluation import correct
from workers.training.presentations import observe

RUN = Run(600_000, 1)
COLUMNS = (*PRESENTED, *PRESENTED_VALUES)
CPU = torch.device("cpu")


def recording(probabilities: bool = True, epochs: object = "final", **changes: object) -> Campaign:
    record = {
        "epochs": epochs,
        "presentations": True,
        "probabilities": probabilities,
        "presented_margin": probabilities,
        "training_statistics": probabilities,
    }
    return small_campaign(**{"record": record, "recipe": {"epochs": 3, "batch_size": 64}, **changes})


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset(small_campaign().dataset)


def on_device(campaign: Campaign, digits: Dataset) -> DeviceData:
    return load_on_device(digits, campaign, np.array(digits.train_labels), CPU)


# Training -------------------------------------------------------------------------------------------------------------


logit = st.sampled_from([0.0, 1.0, -2.5, 30.0, math.inf, -math.inf, math.nan])


@pytest.mark.slow
@given(logits=st.lists(st.lists(logit, min_size=3, max_size=3), min_size=1, max_size=6), data=st.data())
def test_what_is_observed_is_the_slow_definition(logits: list[list[float]], data: st.DataObject) -> None:
    campaign = recording(recipe={"epochs": 1, "batch_size": 8, "label_smoothing": 0.1})
    labels = torch.tensor([data.draw(st.integers(0, 2)) for _ in logits])[None]
    tensor = torch.tensor(logits)[None]
    right, probability, largest, loss, margin, norm = observe(campaign, tensor, labels)
    for i, row in enumerate(logits):
        label = int(labels[0, i])
        if not all(map(math.isfinite, row)):
            assert all(math.isnan(each[0, i]) for each in (probability, largest, loss, margin, norm))
            continue
        shares = np.exp(np.array(row) - max(row)) / np.exp(np.array(row) - max(row)).sum()
        assert right[0, i] == (row.index(max(row)) == label)
        assert probability[0, i].item() == pytest.approx(shares[label], abs=1e-3)
        assert largest[0, i].item() == pytest.approx(shares.max(), abs=1e-3)
        others = [logit for place, logit in enumerate(row) if place != label]
        assert margin[0, i].item() == pytest.approx(row[label] - max(others), abs=0.02)
        assert norm[0, i].item() == pytest.approx(np.linalg.norm(shares - np.eye(3)[label]), abs=1e-3)
        smoothed = nn.functional.cross_entropy(tensor[0, i], labels[0, i], label_smoothing=0.1)
        assert loss[0, i].item() == pytest.approx(smoothed.item(), rel=2e-3, abs=1e-3)
    possible = ~torch.isneginf(tensor).any(dim=2)
    assert torch.equal(right & possible, correct(tensor, labels[0]) & possible)


@pytest.mark.slow
@pytest.mark.parametrize("engine", [SequentialEngine(), StackedEngine(2)], ids=["sequential", "stacked"])
@pytest.mark.parametrize("drop_last", [False, True])
def test_presentations_are_those_of_the_plain_loop(
    drop_last: bool, engine: SequentialEngine | StackedEngine, digits: Dataset
) -> None:
    campaign = recording(recipe={"epochs": 3, "batch_size": 64, "drop_last": drop_last})
    (result,) = engine.train(campaign, on_device(campaign, digits), [RUN])
    expected = plain_loop(campaign, digits)
    (record,) = result.epochs
    assert set(record.presentations) == set(COLUMNS)
    shown = record.presentations["presented"]
    np.testing.assert_array_equal(shown, ~np.isnan(expected["presented_loss"]))
    assert (shown.sum(axis=1) == (832 if drop_last else 862)).all()
    assert not record.presentations["presented_correct"][~shown].any()
    assert (record.presentations["presented_correct"] != expected["presented_correct"]).sum() <= 2
    for name in PRESENTED_VALUES:
        assert record.presentations[name].dtype == np.float16
        np.testing.assert_allclose(record.presentations[name], expected[name], rtol=5e-3, atol=5e-3)
    statistics = slow_training_statistics(expected)
    assert set(record.statistics) == set(statistics)
    for name, values in statistics.items():
        assert record.statistics[name].dtype == np.float32
        np.testing.assert_allclose(record.statistics[name], values, rtol=5e-3, atol=5e-3)


def slow_training_statistics(presented: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """[N] by column, of values [3 epochs, N]: each over the epochs that showed it; EL2N at the second."""
    found = {}
    for i in range(presented["presented_loss"].shape[1]):
        shown = [e for e in range(3) if not math.isnan(presented["presented_loss"][e, i])]
        margin, share, loss, norm = (
            [presented[f"presented_{name}"][e, i] for e in shown] for name in ("margin", "probability", "loss", "norm")
        )
        early = [value for e, value in zip(shown, norm, strict=True) if e >= 1]
        found[i] = (
            [np.mean(margin), np.mean(share), np.std(share), np.mean(loss), early[0] if early else math.nan]
            if shown
            else [math.nan] * 5
        )
    return dict(zip(TRAINING_STATISTICS, np.array([found[i] for i in sorted(found)]).T, strict=True))


def plain_loop(campaign: Campaign, digits: Dataset) -> dict[str, np.ndarray]:
    """[epochs, N] by column, from the same run written down as plainly as possible."""
    torch.manual_seed(integer_seed(campaign, Purpose.INITIALIZATION, RUN))
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))
    images = torch.tensor(np.array(digits.train_images)).float() / 16
    labels = torch.tensor(np.array(digits.train_labels))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    order = generator(campaign, Purpose.ORDER, RUN)
    members = np.flatnonzero(draw_subset(campaign, RUN, len(labels)))
    count = len(members) // 64 * 64 if campaign.recipe.drop_last else len(members)
    found = {name: np.full((3, len(labels)), np.nan) for name in (*COLUMNS, "presented_norm")}
    found["presented_correct"][:] = False
    for epoch in range(3):
        permuted = order.permutation(members)[:count]
        for batch in np.split(permuted, range(64, count, 64)):
            logits = model(images[batch])
            losses = nn.functional.cross_entropy(logits, labels[batch], reduction="none")
            shares = logits.detach().softmax(dim=1)
            found["presented_correct"][epoch, batch] = (logits.argmax(dim=1) == labels[batch]).numpy()
            found["presented_probability"][epoch, batch] = shares[range(len(batch)), labels[batch]].numpy()
            found["presented_max_probability"][epoch, batch] = shares.amax(dim=1).numpy()
            found["presented_loss"][epoch, batch] = losses.detach().numpy()
            errors = shares - nn.functional.one_hot(labels[batch], 10)
            found["presented_norm"][epoch, batch] = errors.norm(dim=1).numpy()
            own = logits.detach()[range(len(batch)), labels[batch]]
            others = logits.detach().masked_fill(nn.functional.one_hot(labels[batch], 10).bool(), -math.inf)
            found["presented_margin"][epoch, batch] = (own - others.amax(dim=1)).numpy()
            optimizer.zero_grad()
            losses.mean().backward()
            optimizer.step()
    return found


@pytest.mark.slow
def test_recording_presentations_changes_no_training(digits: Dataset) -> None:
    plain, seen = small_campaign(recipe={"epochs": 3, "batch_size": 64}), recording()
    for engine in (SequentialEngine(), StackedEngine(2)):
        (one,), (other,) = (engine.train(each, on_device(each, digits), [RUN]) for each in (plain, seen))
        assert not one.epochs[-1].presentations
        for name in ("train_correct", "test_correct"):
            assert getattr(one.epochs[-1], name).tobytes() == getattr(other.epochs[-1], name).tobytes()
        assert one.epochs[-1].train_loss == other.epochs[-1].train_loss


# The store ------------------------------------------------------------------------------------------------------------


def sequences(store: Path | str) -> list[RunSequence]:
    return list(scan_sequences(Store.open(store), values=PRESENTED_VALUES))


@pytest.mark.slow
def test_how_often_is_evaluated_changes_no_sequence(tmp_path: Path) -> None:
    """All epochs in one row; a row an epoch; three a row and then two."""
    recipe = {"epochs": 5, "batch_size": 128}
    for name, epochs in (("one", "final"), ("each", "all"), ("some", 3)):
        run_campaign(recording(epochs=epochs, recipe=recipe), tmp_path / name, shard_size=1)
    one, each, some = (sequences(tmp_path / name) for name in ("one", "each", "some"))
    assert len(one) == 6
    for ours, *others in zip(one, each, some, strict=True):
        assert ours.epochs.tolist() == [1, 2, 3, 4, 5]
        for theirs in others:
            assert (theirs.run, theirs.epochs.tolist()) == (ours.run, ours.epochs.tolist())
            np.testing.assert_array_equal(theirs.seen, ours.seen)
            np.testing.assert_array_equal(theirs.correct, ours.correct)
            for name in PRESENTED_VALUES:
                np.testing.assert_array_equal(theirs.values[name], ours.values[name])
    assert verify_store(str(tmp_path / "some"))[1] == []
    done = compact_store(str(tmp_path / "some"), grace=0)
    assert (done.before, done.after) == (6, 2)
    assert [run.correct.tobytes() for run in sequences(tmp_path / "some")] == [run.correct.tobytes() for run in some]


@pytest.mark.slow
def test_a_run_that_diverges_keeps_what_it_was_shown(tmp_path: Path) -> None:
    campaign = recording(
        recipe={"epochs": 4, "batch_size": 64, "optimizer": {"name": "sgd", "learning_rate": 1e6, "weight_decay": 1e3}},
        model={"name": "mlp", "hidden": [8, 8]},
    )
    report = run_campaign(campaign, tmp_path / "s")
    assert report.progress.diverged == 6
    store = Store.open(tmp_path / "s")
    for shard, table in store.scan(["epoch", *PRESENTED, "presented_loss"]):
        assert table["epoch"].to_pylist() == [1] * table.num_rows
        shown = store.vectors(shard, table, "presented")
        assert shown.shape == (table.num_rows, 4, 1437)
        assert shown[:, 0].any(axis=1).all()
        assert not shown[:, 1:].any()
        assert np.isnan(store.vectors(shard, table, "presented_loss")[:, 1:]).all()
    assert verify_store(store.uri)[1] == []
    assert sequences(tmp_path / "s") == []


SHARD = Shard(500_000, 0, 2)


def presented(given_results: list[RunResult], slots: int = 1, width: int = 21) -> list[RunResult]:
    def vectors() -> dict[str, np.ndarray]:
        return {name: np.zeros((slots, width), dtype=bool) for name in PRESENTED}

    return [
        replace(result, epochs=[replace(e, presentations=vectors()) for e in result.epochs]) for result in given_results
    ]


def test_only_what_the_campaign_asks_for_is_committed(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s")
    with pytest.raises(ValueError, match=r"r500000-000000: presented must be None, got bool\[1, 21\]"):
        store.commit(SHARD, presented(results(SHARD)))
    assert store.shards() == []


# The campaign file ----------------------------------------------------------------------------------------------------


def test_probabilities_are_those_of_presentations() -> None:
    with pytest.raises(CampaignError, match="record: probabilities needs presentations to be true"):
        small_campaign(record={"probabilities": True})
    with pytest.raises(CampaignError, match=r"record.presentations: must be .*got 'yes'"):
        small_campaign(record={"presentations": "yes"})


def test_what_is_recorded_belongs_to_the_identity() -> None:
    plain, bits, all_of_it = (
        small_campaign(record=record)
        for record in ({}, {"presentations": True}, {"presentations": True, "probabilities": True})
    )
    assert len({each.identity("a" * 64) for each in (plain, bits, all_of_it)}) == 3
    assert plain.identity("a" * 64) == small_campaign(record={"presentations": False}).identity("a" * 64), (
        "a field at its default is left out"
    )


@pytest.mark.parametrize(
    ("epochs", "every", "slots"), [(10, "final", 10), (10, "all", 1), (10, 3, 3), (7, 10, 7), (1, 1, 1)]
)
def test_a_row_has_room_for_the_epochs_since_the_row_before(epochs: int, every: object, slots: int) -> None:
    campaign = recording(epochs=every, recipe={"epochs": epochs, "batch_size": 8})
    assert campaign.presentation_slots() == slots
    assert small_campaign().presentation_slots() == 0
