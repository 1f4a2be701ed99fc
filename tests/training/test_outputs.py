"""Outputs: what is recorded where a campaign requests it, and that nothing changes where it does not."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from analysis import read_outputs
from orchestrator import run_campaign
from orchestrator.store_ops.verify import verify_store
from tests.conftest import small_campaign
from tests.stores import NUM_TEST, examples, header, new_store, results
from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run, Shard
from workers.campaign.record import Output, Record
from workers.datasets import load_dataset
from workers.errors import CampaignError, ConflictError, DamagedFileError
from workers.store import RunResult, Store, schema
from workers.store.content_hash import content_hash
from workers.store.output_columns import output_columns
from workers.training import SequentialEngine, StackedEngine
from workers.training.device_data import load_on_device
from workers.training.evaluation import correct, evaluate
from workers.training.outputs import OUTPUTS

SHARD = Shard(500_000, 0, 2)
MARGIN = "test_margin"
ALL: tuple[Output, ...] = ("margin", "loss", "probability", "prediction")
CPU = torch.device("cpu")


def recording(**changes: object) -> Campaign:
    return small_campaign(**{"record": {"margins": True}, **changes})


def margin_store(path: Path) -> Store:
    """An empty store that wants margins."""
    return Store.create(path, header(recording(record={"epochs": "all", "margins": True})), examples())


def with_margins(given: list[RunResult], seed: int = 0) -> list[RunResult]:
    random = np.random.default_rng(seed)

    def drawn() -> np.ndarray:
        return random.normal(size=NUM_TEST).astype(np.float16)

    return [
        replace(one, epochs=[replace(epoch, outputs={"test_margin": drawn()}) for epoch in one.epochs]) for one in given
    ]


# What outputs are -----------------------------------------------------------------------------------------------------

LOGITS = st.lists(st.floats(width=32, allow_nan=True), min_size=3, max_size=3)


@pytest.mark.slow
@given(st.lists(LOGITS, min_size=1, max_size=5), st.integers(0, 2))
def test_outputs_are_the_slow_definitions(logits: list[list[float]], label: int) -> None:
    tensor, labels = torch.tensor([logits]), torch.full((len(logits),), label)
    found = {name: of(tensor, labels)[0].numpy() for name, (of, _) in OUTPUTS.items()}
    assert {name: torch.from_numpy(values).dtype for name, values in found.items()} == {
        name: dtype for name, (_, dtype) in OUTPUTS.items()
    }
    for i, (row, right) in enumerate(zip(logits, correct(tensor, labels)[0], strict=True)):
        margin, loss, probability, prediction = (found[name][i] for name in ALL)
        if not np.isfinite(row).all():
            assert np.isnan([margin, loss, probability]).all()
            assert (prediction, bool(right)) == (-1, False)
            continue
        exact = row[label] - max(logit for c, logit in enumerate(row) if c != label)
        assert margin == np.float16(np.float32(np.clip(exact, -65504, 65504)))
        assert right or margin <= 0
        assert not right or margin >= 0
        assert (prediction == label) == bool(right)
        assert row[prediction] == max(row)
        largest = np.float64(max(row))
        expected = np.log(np.exp(np.array(row) - largest).sum()) + (largest - row[label])
        assert np.isclose(np.float64(loss), min(expected, 65504.0), rtol=1e-3, atol=1e-6)
        assert np.isclose(np.float64(probability), np.exp(-expected), rtol=2e-3, atol=1e-6)


def test_flipped_images_count_as_in_correctness() -> None:
    """Margins are those of the averaged logits, whatever the batches."""
    campaign = recording()
    dataset = load_dataset(campaign.dataset)
    data = load_on_device(dataset, campaign, np.array(dataset.train_labels), CPU)
    weight = torch.randn(64, 10, generator=torch.Generator().manual_seed(0))

    def predict(images: torch.Tensor) -> torch.Tensor:
        return (images.flatten(1) @ weight)[None]

    images = torch.from_numpy(np.array(dataset.test_images)).float() / 16
    found = evaluate(predict, 1, data, flip=True, batch=100, columns=output_columns(Record(margins=True)))
    logits = (data.scaled(images * 16).flatten(1) @ weight + data.scaled(images * 16).flip(-1).flatten(1) @ weight) / 2
    slow = [
        float(row[label] - max(value for c, value in enumerate(row) if c != label))
        for row, label in zip(logits, dataset.test_labels, strict=True)
    ]
    np.testing.assert_allclose(found.outputs["test_margin"][0], slow, rtol=2e-3, atol=2e-3)
    assert evaluate(predict, 1, data, flip=True, batch=7).outputs == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"recipe": {"epochs": 3, "batch_size": 64}},
        {
            "model": {"name": "small-cnn", "width": 8, "hidden": 16},
            "recipe": {"epochs": 2, "batch_size": 16, "evaluation_flip": True},
        },
    ],
    ids=["mlp", "cnn"],
)
def test_both_engines_record_the_same_outputs(changes: dict[str, object]) -> None:
    campaign = small_campaign(record={"outputs": ALL}, **changes)
    dataset = load_dataset(campaign.dataset)
    data = load_on_device(dataset, campaign, np.array(dataset.train_labels), CPU)
    runs = [Run(600_000, repetition) for repetition in range(2)]
    apart, together = (engine.train(campaign, data, runs) for engine in (SequentialEngine(), StackedEngine(2)))
    for one, other in zip(apart, together, strict=True):
        ours, theirs = one.epochs[-1], other.epochs[-1]
        assert set(ours.outputs) == {column.name for column in output_columns(campaign.record)}
        for split, labels, right in (
            ("train", dataset.train_labels, ours.train_correct),
            ("test", dataset.test_labels, ours.test_correct),
        ):
            margins = ours.outputs[f"{split}_margin"]
            assert margins.std() > 0.1
            for name in ("margin", "cross_entropy", "probability"):
                mine, others = ours.outputs[f"{split}_{name}"], theirs.outputs[f"{split}_{name}"]
                assert mine.dtype == np.float16
                np.testing.assert_allclose(mine, others, rtol=2e-3, atol=2e-3)
            assert ((margins > 0) == right)[margins != 0].all()
            assert ((ours.outputs[f"{split}_prediction"] == labels) == right).all()
            losses = ours.outputs[f"{split}_cross_entropy"].astype(float)
            np.testing.assert_allclose(np.exp(-losses), ours.outputs[f"{split}_probability"], rtol=2e-3, atol=2e-3)


# The store ------------------------------------------------------------------------------------------------------------


def test_stores_without_outputs_stay_as_they_were() -> None:
    """Content hash, columns and identity as before outputs could be recorded."""
    table = schema.results_table(results(SHARD), schema.RESULTS)
    assert content_hash(table) == "9f1c4763730f5b71f168507eb5c9026afe977954f2f1a23dab556a95bf0d0807"
    assert MARGIN not in table.column_names
    identity = "aaadef7c107dc5614cb849215b2c63a86e8392908899597775c07856ad18c1ee"
    assert small_campaign().identity("a" * 64) == identity
    assert small_campaign(record={"margins": False, "outputs": []}).identity("a" * 64) == identity
    orders = [["loss", "margin"], ["margin", "loss"]]
    assert len({small_campaign(record={"outputs": names}).identity("a" * 64) for names in orders}) == 1
    assert recording().identity("a" * 64) != identity


def test_margins_read_back_and_pandas_reads_them(tmp_path: Path) -> None:
    store = margin_store(tmp_path / "s")
    given_results = with_margins(results(SHARD))
    given_results[0].epochs[0].outputs[MARGIN][:2] = np.nan, -65504
    assert store.commit(SHARD, given_results)
    table = Store.open(store.uri).read(SHARD, ["test_margin"])
    records = [record for result in given_results for record in result.epochs]
    expected = np.stack([record.outputs[MARGIN] for record in records])
    assert store.vectors(SHARD, table, MARGIN).dtype == np.float16
    np.testing.assert_array_equal(store.vectors(SHARD, table, MARGIN), expected)
    frame = pd.read_parquet(f"{store.uri}/results")
    np.testing.assert_array_equal(np.stack(list(frame["test_margin"])), expected)
    given_results[0].epochs[-1].outputs[MARGIN][:2] = 65504, -65504
    limits = margin_store(tmp_path / "limits")
    limits.commit(SHARD, given_results)
    assert read_outputs(limits).saturated == 2
    assert read_outputs(store, tests=[2, 3]).saturated == 0
    assert verify_store(store.uri) == (2, [])


def test_margins_belong_to_the_content(tmp_path: Path) -> None:
    store = margin_store(tmp_path / "s")
    store.commit(SHARD, with_margins(results(SHARD)))
    assert not store.commit(SHARD, with_margins(results(SHARD, seconds=9.0)))
    with pytest.raises(ConflictError, match="is committed with other content"):
        store.commit(SHARD, with_margins(results(SHARD), seed=1))


@pytest.mark.parametrize("change", ["value", "column"])
def test_verify_finds_changed_margins(change: str, tmp_path: Path) -> None:
    store = margin_store(tmp_path / "s")
    store.commit(SHARD, with_margins(results(SHARD)))
    path = tmp_path / "s" / "results" / f"{SHARD.shard_id}.parquet"
    table = pq.read_table(path)
    index = table.column_names.index("test_margin")
    if change == "value":
        values = table["test_margin"].combine_chunks()
        flat = values.flatten().to_numpy().copy()
        flat[-1] += 1
        changed = pa.ListArray.from_arrays(values.offsets, pa.array(flat), type=values.type)
        table = table.set_column(index, table.schema.field(index), changed)
        problem = "its content does not match its committed hash"
    else:
        table = table.remove_column(index)
        problem = "has unexpected columns"
    pq.write_table(table, path, write_page_checksum=True)
    _, findings = verify_store(store.uri)
    assert [finding.problem for finding in findings] == [problem]
    if change == "column":
        with pytest.raises(DamagedFileError, match="has unexpected columns"):
            store.read(SHARD, ["test_margin"])


def test_only_what_the_campaign_asks_for_is_committed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"r500000-000000: test_margin must be None, got float16\[5\]"):
        new_store(tmp_path / "without").commit(SHARD, with_margins(results(SHARD)))
    store = margin_store(tmp_path / "with")
    with pytest.raises(ValueError, match=r"r500000-000000: test_margin must be float16\[5\], got None"):
        store.commit(SHARD, results(SHARD))
    zeros: Any = np.zeros(3)
    wide = [
        replace(each, epochs=[replace(e, outputs={"test_margin": zeros}) for e in each.epochs])
        for each in results(SHARD)
    ]
    with pytest.raises(ValueError, match=r"test_margin must be float16\[5\], got float64\[3\]"):
        store.commit(SHARD, wide)
    assert store.shards() == []


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ({"margins": "yes"}, r"record.margins: must be .*got 'yes'"),
        ({"outputs": ["logits"]}, r"record.outputs\.0: must be .*got 'logits'"),
        ({"outputs": ["loss", "loss"]}, r"record.outputs: must be all different"),
        ({"outputs": ["margin"], "margins": True}, r"margins must be left out where outputs has margin"),
    ],
)
def test_fields_are_checked(record: dict[str, object], problem: str) -> None:
    with pytest.raises(CampaignError, match=problem):
        small_campaign(record=record)


# Campaigns ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_resumed_campaign_records_the_same_bits(tmp_path: Path) -> None:
    campaign = small_campaign(record={"outputs": ALL, "epochs": "all"})
    run_campaign(campaign, tmp_path / "whole", shard_size=2)
    shutil.copytree(tmp_path / "whole", tmp_path / "torn")
    for path in sorted((tmp_path / "torn" / "results").iterdir())[::2]:
        path.unlink()
    run_campaign(campaign, tmp_path / "torn", shard_size=2)
    whole, torn = Store.open(tmp_path / "whole"), Store.open(tmp_path / "torn")
    assert whole.shards() == torn.shards() != []
    for shard in whole.shards():
        theirs, ours = whole.read(shard), torn.read(shard)
        assert content_hash(theirs) == content_hash(ours)
        margins, right = torn.vectors(shard, ours, MARGIN), torn.bits(shard, ours, "test_correct")
        for column in output_columns(campaign.record):
            values = torn.vectors(shard, ours, column.name)
            assert values.tobytes() == whole.vectors(shard, theirs, column.name).tobytes()
        assert (right == (margins > 0))[margins != 0].all()
        assert (margins != 0).mean() > 0.99
    assert verify_store(str(tmp_path / "torn"))[1] == []
    without = recording(record={"epochs": "all"})
    run_campaign(without, tmp_path / "without", shard_size=2)
    plain = Store.open(tmp_path / "without")
    for shard in plain.shards():
        assert plain.read(shard)["test_correct"].equals(whole.read(shard)["test_correct"])
