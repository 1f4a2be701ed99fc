"""Partitions that are trained in turn: how they are drawn, what an epoch shows, both engines, stores and curves."""

from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pandas as pd
import pytest
import torch

from analysis import EstimateError, open_store, partition_curves
from analysis.reading.sequences import scan_sequences
from orchestrator import run_campaign
from orchestrator.runners.ray.job_package import SCORES_FILES, with_sent_tables
from tests.command import call
from tests.conftest import small_campaign
from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run
from workers.datasets import load_dataset
from workers.errors import CampaignError
from workers.store import Store
from workers.subsets.partitions import draw_partitions
from workers.training import SequentialEngine, StackedEngine
from workers.training.device_data import load_on_device
from workers.training.minibatch_streams import MinibatchStreams

N = 1437
RUN = Run(600_000, 1)


def in_turns(curriculum: dict[str, object], epochs: int = 6, **changes: object) -> Campaign:
    recipe = {"epochs": epochs, "batch_size": 64, "curriculum": curriculum}
    subsets = {"ratios": [0.6], "repetitions": 3, "seed": 5}
    record = {"epochs": "all", "presentations": True}
    return small_campaign(**{"recipe": recipe, "subsets": subsets, "record": record, **changes})


def by_score(tmp_path: Path, **curriculum: object) -> tuple[Campaign, np.ndarray]:
    """Halves by a score with many ties."""
    scores = np.random.default_rng(3).integers(0, 4, N).astype(float)
    pd.DataFrame({"example_id": np.arange(N), "events": scores}).to_parquet(tmp_path / "events.parquet")
    column = {"file": str(tmp_path / "events.parquet"), "column": "events"}
    return in_turns({"scores": column, "epochs": 2, **curriculum}), scores


def test_partitions_are_equal_parts_of_a_subset_in_the_order_of_scores(tmp_path: Path) -> None:
    campaign, scores = by_score(tmp_path, partitions=4)
    subset = np.random.default_rng(0).random(N) < 0.6
    drawn = draw_partitions(campaign, RUN, subset, scores)
    assert np.array_equal(drawn == -1, ~subset)
    sizes = np.bincount(drawn[subset])
    assert len(sizes) == 4
    assert sizes.max() - sizes.min() <= 1
    for part in range(3):
        assert scores[drawn == part].max() <= scores[drawn == part + 1].min()
    # Ties are at random: of the examples with one score, those in a part are not the first ones.
    tied = np.flatnonzero(subset & (scores == scores[drawn == 0].max()))
    inside = np.isin(tied, np.flatnonzero(drawn == 0))
    assert 0 < inside.sum() < len(tied)
    assert not inside[: inside.sum()].all()
    assert np.array_equal(drawn, draw_partitions(campaign, RUN, subset, scores))
    assert not np.array_equal(drawn, draw_partitions(campaign, Run(600_000, 2), subset, scores))
    random = in_turns({"partitions": 4})
    assert not np.array_equal(drawn, draw_partitions(random, RUN, subset))
    for mistaken, given in ((random, scores), (campaign, None)):
        with pytest.raises(ValueError, match=r"recipe\.curriculum"):
            draw_partitions(mistaken, RUN, subset, given)


def test_random_partitions_are_what_they_were() -> None:
    """Raw bits of PCG64, by the run's key alone: readers of a store draw them again."""
    drawn = draw_partitions(in_turns({}), RUN, np.ones(12, bool))
    assert drawn.tolist() == [1, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 0]


def test_an_epoch_shows_one_partition(tmp_path: Path) -> None:
    campaign, scores = by_score(tmp_path)
    data = _data(campaign, scores)
    streams = MinibatchStreams(campaign, data, RUN)
    drawn = draw_partitions(campaign, RUN, streams.subset, scores)
    assert streams.count == streams.subset.sum() // 2 == 431
    assert streams.steps == 7
    for part in (0, 0, 1, 1, 0, 0):
        order, _ = streams.next_epoch()
        assert len(set(order.tolist())) == 431
        assert (drawn[order] == part).all()
    again = MinibatchStreams(campaign, data, RUN)
    for _ in range(3):
        again.next_epoch()
    resumed = MinibatchStreams(campaign, data, RUN)
    resumed.restore(again.state(), epoch=3)
    assert np.array_equal(resumed.next_epoch()[0], again.next_epoch()[0])


@pytest.mark.parametrize("engine", [SequentialEngine(), StackedEngine(3)], ids=["sequential", "stacked"])
def test_engines_show_examples_in_turns(engine: SequentialEngine | StackedEngine, tmp_path: Path) -> None:
    campaign, scores = by_score(tmp_path, epochs=1)
    campaign = campaign.model_copy(update={"recipe": campaign.recipe.model_copy(update={"epochs": 2})})
    data = _data(campaign, scores)
    for result in engine.train(campaign, data, [RUN]):
        drawn = draw_partitions(campaign, result.run, result.subset, scores)
        for epoch, record in enumerate(result.epochs):
            shown = record.presentations["presented"][0]
            assert shown.sum() == 431
            assert (drawn[shown] == epoch % 2).all()


def _data(campaign: Campaign, scores: np.ndarray):  # type: ignore[no-untyped-def]
    digits = load_dataset(campaign.dataset)
    data = load_on_device(digits, campaign, np.array(digits.train_labels), torch.device("cpu"))
    return data.with_curriculum_scores(scores)


def test_the_accuracy_of_each_partition_by_epoch(tmp_path: Path) -> None:
    campaign, scores = by_score(tmp_path)
    run_campaign(campaign, tmp_path / "store")
    store = Store.open(tmp_path / "store")
    frame = partition_curves(store)
    expected: dict[tuple[int, int], list[float]] = {}
    for sequence in scan_sequences(store, "evaluations"):
        drawn = draw_partitions(campaign, sequence.run, sequence.seen[0], scores)
        for epoch, correct in zip(sequence.epochs.tolist(), sequence.correct, strict=True):
            for part in (0, 1):
                mine = [bool(correct[i]) for i in range(N) if drawn[i] == part]
                expected.setdefault((part + 1, epoch), []).append(sum(mine) / len(mine))
    assert len(frame) == len(expected) == 12
    for row in frame.to_dict("records"):
        accuracies = expected[row["partition"], row["epoch"]]
        assert row["accuracy"] == pytest.approx(mean(accuracies))
        assert row["se"] == pytest.approx(stdev(accuracies) / 3**0.5)
        assert row["low"] <= row["accuracy"] <= row["high"]
        assert row["trained"] == ((row["epoch"] - 1) // 2 % 2 == row["partition"] - 1)
        assert row["examples"] == 431
    files = ("--plot", str(tmp_path / "p.png"), "-o", str(tmp_path / "p.csv"))
    code, shown, errors = call("partitions", str(tmp_path / "store"), *files)
    assert code == 0, errors
    assert "partition 2" in shown
    assert "> 0." in shown
    assert len(pd.read_csv(tmp_path / "p.csv")) == 12
    assert (tmp_path / "p.png").stat().st_size > 1000
    view = open_store(tmp_path / "store")
    assert len(view.partitions()) == 12
    second = view.second_split_forgetting()
    for row, values in zip(second.to_dict("records"), slow_second_split(campaign, store, scores), strict=True):
        assert row["n_runs"] == len(values)
        assert row["second_split"] == pytest.approx(mean(values) if values else float("nan"), nan_ok=True)
    assert second["second_split"].between(1, 3).any()
    np.testing.assert_allclose(view.proxies()["second_split"], second["second_split"])


def slow_second_split(campaign: Campaign, store: Store, scores: np.ndarray) -> list[list[int]]:
    """The epoch of forgetting of each example, in turns of two epochs: one per run whose partition 1 learned it."""
    found: list[list[int]] = [[] for _ in range(N)]
    for sequence in scan_sequences(store, "evaluations"):
        drawn = draw_partitions(campaign, sequence.run, sequence.seen[0], scores)
        _, learned, third, fourth, *_ = sequence.correct
        for i in np.flatnonzero((drawn == 0) & learned).tolist():
            found[i].append(3 if fourth[i] else 2 if third[i] else 1)
    return found


def test_a_curriculum_is_part_of_the_identity_and_its_file_is_not(tmp_path: Path) -> None:
    plain = in_turns({})
    recipe = plain.recipe.model_copy(update={"curriculum": None})
    without = plain.model_copy(update={"recipe": recipe})
    assert "curriculum" not in without._science(defaults=False)["recipe"]
    others = (plain, without, in_turns({"epochs": 2}), in_turns({"partitions": 3}))
    assert len({each.identity("f") for each in others}) == 4
    campaign, _ = by_score(tmp_path)
    moved = campaign.with_score_column("recipe.curriculum.scores", file="elsewhere.parquet")
    assert moved.identity("f") == campaign.identity("f")
    hashed = campaign.with_score_column("recipe.curriculum.scores", sha256="a" * 64)
    assert hashed.identity("f") != campaign.identity("f")
    sent, files = with_sent_tables(campaign)
    assert (sent.recipe.curriculum or campaign).scores.file == SCORES_FILES["recipe.curriculum.scores"]  # type: ignore[union-attr]
    assert list(files) == [SCORES_FILES["recipe.curriculum.scores"]]
    assert campaign.without_scores().curriculum_scores is None


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(CampaignError, match=r"recipe\.curriculum\.partitions: must be at most 14, .* got 15"):
        run_campaign(in_turns({"partitions": 15}, subsets={"ratios": [0.01], "repetitions": 1}), tmp_path / "a")
    run_campaign(small_campaign(recipe={"epochs": 1, "batch_size": 64}), tmp_path / "b", repetitions=1)
    with pytest.raises(EstimateError, match=r"has no partitions: the campaign has no recipe\.curriculum"):
        partition_curves(Store.open(tmp_path / "b"))
    with pytest.raises(EstimateError, match=r"has no partitions: the campaign has no recipe\.curriculum"):
        open_store(tmp_path / "b").second_split_forgetting()
