"""`longtail density`: a digits campaign with label noise, end to end."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from scipy.stats import spearmanr

from analysis import EstimateError, open_store
from orchestrator import estimate_densities, run_campaign
from orchestrator.cli import progress
from tests.command import call
from tests.conftest import small_campaign
from tests.synthetic import Labelled, Runs, examples, make_store, make_stores
from workers.campaign.campaign import Campaign
from workers.campaign.import_spec import Imported
from workers.campaign.keys import Run
from workers.store import Header, Store
from workers.store.parquet.table_file import metadata_of
from workers.training import penultimate_features
from workers.training.device_data import DeviceData
from workers.training.penultimate_features import PenultimateFeatures

NAMES = [f"{space}_density{score}" for space in ("input", "hidden") for score in ("", "_same", "_relative")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 models at each of two ratios; 10% of the labels are wrong."""
    path = tmp_path_factory.mktemp("density") / "s"
    campaign = small_campaign(
        model={"name": "mlp", "hidden": [32]},
        recipe={"epochs": 10, "batch_size": 64},
        label_noise={"fraction": 0.1},
        subsets={"ratios": [0.3, 0.6], "repetitions": 30, "seed": 2},
    )
    run_campaign(campaign, path)
    return path


@pytest.mark.slow
def test_from_the_command_line_into_the_store(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "STAGE_SECONDS", 0.0)
    code, output, errors = call("density", trained, "--device", "cpu")
    assert code == 0, errors
    path = trained / "estimates" / "density.parquet"
    assert output.splitlines()[0].startswith("input space: bandwidth 1.5")
    assert "last hidden layer of run r600000-000000: bandwidth " in output
    assert output.endswith(f"densities: {path}\n")
    assert "epochs of run r600000-000000: 9 of 10" in errors
    frame = pd.read_parquet(path)
    assert list(frame.columns) == ["example_id", "label", "given_label", *NAMES]
    assert (frame["example_id"] == np.arange(1437)).all()
    assert frame[NAMES].notna().all(axis=None)
    shown = [line.split()[1] for line in output.splitlines() if line.strip().startswith("input ")]
    assert list(map(str, frame.nsmallest(5, "input_density_relative")["example_id"])) == shown[-5:]
    said = metadata_of(pq.read_schema(path))
    assert said["bandwidth_rule"] == "half the mean Euclidean distance over pairs of different examples"
    assert float(said["input_bandwidth"]) == pytest.approx(1.51, abs=0.01)
    (run,) = json.loads(said["hidden"])
    assert (run["run"], run["agreement"] > 0.99, run["bandwidth"] > 0) == ("r600000-000000", True, True)


@pytest.mark.slow
def test_dense_examples_are_regular_and_wrong_labels_are_not(trained: Path) -> None:
    store = Store.open(trained)
    one, two = (estimate_densities(store, models=models, device="cpu").frame for models in (1, 2))
    np.testing.assert_array_equal(one[NAMES[:3]], two[NAMES[:3]])
    assert (one[NAMES[3:]] != two[NAMES[3:]]).to_numpy().mean() > 0.99
    cscore = open_store(trained).cscore()["cscore"]
    for frame in (one, two):
        assert spearmanr(frame["hidden_density_relative"], cscore)[0] > 0.4
    noisy = one["label"] != one["given_label"]
    assert noisy.sum() == 144
    for space in ("input", "hidden"):
        relative = one[f"{space}_density_relative"]
        np.testing.assert_allclose(relative, 2 * one[f"{space}_density_same"] - one[f"{space}_density"], atol=1e-12)
        least = relative.nsmallest(144).index
        assert noisy[least].mean() > 0.5, "given labels, not true ones"


@pytest.mark.slow
def test_a_model_without_a_head_has_no_hidden_density(tmp_path: Path) -> None:
    run_campaign(small_campaign(model={"name": "user_code:headless_model"}), tmp_path / "s")
    code, output, errors = call("density", tmp_path / "s", "-o", tmp_path / "d.csv")
    assert (code, output) == (2, "")
    assert errors == (
        "error: user_code:headless_model: is named by the store, and not called; --trust-code (in Python "
        "trust_code=True) calls it, for a store that you made\n"
    )
    code, output, errors = call("density", tmp_path / "s", "-o", tmp_path / "d.csv", "--trust-code")
    assert code == 0
    assert "note: last hidden layer left out: model: must have a last linear layer of 10 outputs" in errors
    assert output.endswith(f"densities: {tmp_path / 'd.csv'}\n")
    frame = pd.read_csv(tmp_path / "d.csv")
    assert frame[NAMES[:3]].notna().all(axis=None)
    assert frame[NAMES[3:]].isna().all(axis=None)
    assert not (tmp_path / "s" / "estimates").exists()


def test_diverged_runs_are_passed_over(tmp_path: Path) -> None:
    bits = np.ones((3, 9), dtype=bool)
    store = make_stores(tmp_path / "s", {0.5: Runs(bits, bits, bits), 0.7: Runs(bits, bits, bits, diverged=[0, 1, 2])})
    with pytest.raises(EstimateError, match=r"all runs at ratio 0.7 diverged, so none can be trained again"):
        estimate_densities(store)
    store = make_store(tmp_path / "t", bits, bits, bits, diverged=[0])
    with pytest.raises(
        EstimateError, match=r"models must be 1 to 2, the runs at ratio 0.7 that did not diverge, got 3"
    ):
        estimate_densities(store, models=3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--models", 0], 2, "Invalid value for '--models'"),
        (["--models", 31], 2, "error: models must be 1 to 30, the runs at ratio 0.6 that did not diverge, got 31"),
        (["-o", "d.xlsx"], 2, "error: --output: must end with .parquet or .csv, got 'd.xlsx'"),
        (["--device", "tpu"], 2, "Invalid value for '--device'"),
    ],
)
def test_mistakes_are_one_line(trained: Path, options: list[object], code: int, message: str) -> None:
    found, _, errors = call("density", trained, *options)
    assert (found, message in errors) == (code, True), errors
    assert "Traceback" not in errors


def test_imported_runs_have_no_data(tmp_path: Path) -> None:
    imported, fingerprint = Imported(layout="heldout", experiment="published"), "5" * 64
    header = Header(
        identity=imported.identity(fingerprint),
        fingerprint=fingerprint,
        dataset="published",
        num_train=9,
        num_test=3,
        class_names=("0",),
        shard_size=8,
        campaign=imported,
        versions={},
    )
    store = Store.create(tmp_path / "s", header, examples(Labelled(), 9, 3))
    code, _, errors = call("density", store.uri)
    assert (code, errors) == (2, f"error: {store.uri}: has no data and no model, its runs were imported (published)\n")


@pytest.mark.slow
def test_interrupted_it_leaves_nothing(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extract = penultimate_features.train_and_extract_features

    def interrupted(campaign: Campaign, data: DeviceData, run: Run, *options: Any) -> PenultimateFeatures:
        """Ctrl-C at the end of the first epoch."""

        def end(done: int, total: int) -> None:
            raise KeyboardInterrupt

        return extract(campaign, data, run, on_epoch=end)

    monkeypatch.setattr("orchestrator.store_ops.density.train_and_extract_features", interrupted)
    code, output, errors = call("density", trained, "--models", 2, "--device", "cpu", "-o", tmp_path / "d.parquet")
    assert (code, output) == (130, "")
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []
