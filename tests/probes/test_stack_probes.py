"""Probes of runs: recorded in the last row, the same wherever a run was interrupted, without a trace in training."""

import json
from pathlib import Path

import numpy as np
import pytest

from orchestrator import run_campaign
from orchestrator.campaigns.campaign_report import CampaignReport
from orchestrator.store_ops.compact import compact_store
from orchestrator.store_ops.verify import verify_store
from tests.campaigns.test_run import contents
from tests.conftest import small_campaign
from workers.campaign.campaign import Campaign
from workers.errors import CampaignError, DamagedFileError
from workers.store import Store

MODELS: dict[str, dict[str, object]] = {
    "stack": {"name": "mlp", "hidden": [8]},
    "plain": {"name": "user_code:dropout_model", "options": {"width": 8}},
}


def campaign(log: Path, model: str = "stack", **changes: object) -> Campaign:
    """Four runs of which two are measured, by a probe of the user's own and in their gradients."""
    probes = {
        "gradients": True,
        "repetitions": 2,
        "custom": [{"name": "user_code:Norms", "options": {"log": str(log)}}],
    }
    document: dict[str, object] = {
        "model": MODELS[model],
        "recipe": {"epochs": 3, "batch_size": 128},
        "label_noise": {"fraction": 0.1},
        "subsets": {"ratios": [0.2], "repetitions": 4, "seed": 5},
        "record": {"epochs": "all", "probes": probes},
    }
    return small_campaign(**{**document, **changes})


def train(planned: Campaign, store: Path) -> CampaignReport:
    return run_campaign(planned, str(store), shard_size=4, checkpoint_minutes=0)


def values(store: Path, column: str) -> tuple[np.ndarray, np.ndarray]:
    """(is_final, the column) of every row."""
    opened = Store.open(str(store))
    (shard,) = opened.shards()
    table = opened.read(shard)
    return table["is_final"].to_numpy(), opened.vectors(shard, table, column)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_measured_in_the_last_row_of_the_first_runs(model: str, tmp_path: Path) -> None:
    train(campaign(tmp_path / "log", model), tmp_path / "s")
    final, norms = values(tmp_path / "s", "probe_norms")
    assert final.sum() == 4
    measured = np.flatnonzero(final)[:2]
    assert np.isfinite(norms[measured]).all()
    assert (np.diff(norms[measured], axis=1) != 0).all(), "start, epoch 1 and end differ"
    assert np.isnan(np.delete(norms, measured, axis=0)).all()
    _, gradients = values(tmp_path / "s", "probe_gradients")
    assert np.isfinite(gradients[measured]).all()
    assert np.isnan(np.delete(gradients, measured, axis=0)).all()
    _, clean = values(tmp_path / "s", "probe_subset")
    subsets = Store.open(str(tmp_path / "s"))
    (shard,) = subsets.shards()
    subset = subsets.bits(shard, subsets.read(shard), "subset")
    assert (clean[measured] <= subset[measured]).all()
    assert 0 < (subset[measured] & ~clean[measured]).sum() < clean[measured].sum()


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_training_is_the_same_with_and_without(model: str, tmp_path: Path) -> None:
    train(campaign(tmp_path / "log", model), tmp_path / "with")
    train(campaign(tmp_path / "log", model, record={"epochs": "all"}), tmp_path / "without")
    tables = []
    for name in ("with", "without"):
        opened = Store.open(str(tmp_path / name))
        (shard,) = opened.shards()
        tables.append(opened.read(shard, ["run_id", "epoch", "subset", "train_correct", "test_correct", "train_loss"]))
    assert tables[0].replace_schema_metadata(None) == tables[1].replace_schema_metadata(None)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "fault"), [("stack", 1), ("stack", 3), ("plain", 0), ("plain", 2)])
def test_interrupted_in_a_measurement_it_goes_on_there(model: str, fault: int, tmp_path: Path) -> None:
    log = tmp_path / "log"
    planned = campaign(log, model)
    train(planned, tmp_path / "whole")
    whole = log.read_text().splitlines()
    log.unlink()
    log.with_suffix(".faults").write_text(str(fault))
    report = train(planned, tmp_path / "s")
    assert (report.failures, report.notes) == ((), ())
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")
    assert log.read_text().splitlines() == [*whole[: fault + 1], *whole[fault:]], "one measurement is made twice"


@pytest.mark.slow
def test_a_run_that_diverges_is_not_measured(tmp_path: Path) -> None:
    recipe = {"epochs": 5, "batch_size": 64, "optimizer": {"name": "sgd", "learning_rate": 1e6, "weight_decay": 1e3}}
    train(campaign(tmp_path / "log", recipe=recipe), tmp_path / "s")
    _, norms = values(tmp_path / "s", "probe_norms")
    assert np.isnan(norms).all()
    assert not (tmp_path / "log").exists()


@pytest.mark.slow
def test_stores_with_probes_are_verified_and_compacted(tmp_path: Path) -> None:
    planned = campaign(tmp_path / "log", subsets={"ratios": [0.2], "repetitions": 4, "seed": 5})
    run_campaign(planned, str(tmp_path / "s"), shard_size=1)
    before = contents_of_runs(tmp_path / "s")
    compact_store(str(tmp_path / "s"))
    assert contents_of_runs(tmp_path / "s") == before
    assert verify_store(str(tmp_path / "s"))[1] == []


def contents_of_runs(store: Path) -> bytes:
    opened = Store.open(str(store))
    scanned = opened.scan(["probe_norms"])
    return b"".join(opened.vectors(shard, table, "probe_norms").tobytes() for shard, table in scanned)


def test_a_header_of_other_probes_is_refused(tmp_path: Path) -> None:
    train(campaign(tmp_path / "log", recipe={"epochs": 1, "batch_size": 512}), tmp_path / "s")
    original = json.loads((tmp_path / "s" / "campaign.json").read_text())
    column = original["probes"]["columns"][0]
    wide = {**column, "axes": [{"name": "epoch", "labels": 2**24}, {"name": "tensor", "labels": 2**24}]}
    alterations = [
        (None, "probes do not match record.probes"),
        ({**original["probes"], "columns": [wide]}, "at most 16,777,216 values"),
        ({**original["probes"], "columns": [column, column]}, "names that are all different"),
        ({**original["probes"], "columns": [{**column, "name": "subset"}]}, "pattern"),
    ]
    for probes, reason in alterations:
        (tmp_path / "s" / "campaign.json").write_text(json.dumps({**original, "probes": probes}))
        with pytest.raises(DamagedFileError, match=reason):
            Store.open(str(tmp_path / "s"))
    fewer = {**column, "axes": [*column["axes"][:2], {"name": "sum", "labels": 2}]}
    altered = {**original["probes"], "columns": [fewer, *original["probes"]["columns"][1:]]}
    (tmp_path / "s" / "campaign.json").write_text(json.dumps({**original, "probes": altered}))
    opened = Store.open(str(tmp_path / "s"))
    with pytest.raises(DamagedFileError, match="column probe_gradients"):
        opened.read(opened.shards()[0])


MISTAKES = [
    ({"gradients": True}, 0.0, "record.probes: compares examples with and without noisy labels"),
    ({"custom": [{"name": "user_code:NoProbe"}]}, 0.1, "without units, measure"),
    ({"custom": [{"name": "user_code:Absent"}]}, 0.1, "user_code has no Absent"),
    ({"custom": [{"name": "user_code:NamedAsOurs", "options": {"log": "x"}}]}, 0.1, "got probe_neurons_mine"),
    ({"custom": [{"name": "os:system"}]}, 0.1, "os"),
    ({"custom": [{"name": "user_code:Norms", "options": {"lag": "x"}}]}, 0.1, "did you mean log"),
]


@pytest.mark.parametrize(("probes", "noise", "reason"), MISTAKES)
def test_mistakes_are_told_before_a_store_is_made(
    probes: dict[str, object], noise: float, reason: str, tmp_path: Path
) -> None:
    planned = campaign(tmp_path / "log", label_noise={"fraction": noise}, record={"probes": probes})
    with pytest.raises(CampaignError, match=reason):
        train(planned, tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_probes_are_part_of_the_identity(tmp_path: Path) -> None:
    planned = campaign(tmp_path / "log", record={})
    assert planned.identity("0" * 64) != campaign(tmp_path / "log").identity("0" * 64)
