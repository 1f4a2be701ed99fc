"""Given labels of the user's own beside the true ones (as CIFAR-10N has them): `label_noise: {file, column}`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from analysis import open_store
from orchestrator.campaigns.run import run_campaign
from orchestrator.cli.app import app
from orchestrator.runners.ray.job_package import LABELS_FILE, driver_folder, with_sent_tables
from tests.conftest import small_campaign
from workers.campaign.dataset_spec import Digits
from workers.campaign.noise import LabelNoise
from workers.campaign.yaml_io import dump_campaign
from workers.datasets import load_dataset
from workers.datasets.label_table import labels_sha256, read_given_labels
from workers.errors import CampaignError, StoreMismatchError

NAMES = ("cat", "dog", "eel")


def read(path: str, column: str = "l", sha256: str | None = None) -> list[int]:
    return read_given_labels(LabelNoise(file=path, column=column, sha256=sha256), 4, NAMES).tolist()


def test_labels_are_read_by_number_or_name_in_canonical_order(write_table: Callable[..., str]) -> None:
    assert read(write_table(l=[0, 2, 1, 1])) == [0, 2, 1, 1]
    assert read(write_table(l=["eel", "cat", "dog", "cat"], example_id=[3, 1, 0, 2])) == [1, 0, 0, 2]
    assert read(write_table(l=pd.Categorical(["eel", "cat", "dog", "cat"]))) == [2, 0, 1, 0]
    Path("f.csv").write_text("l,clean\ncat,cat\neel,cat\ndog,dog\ndog,dog\n")
    assert read("f.csv") == [0, 2, 1, 1]
    np.savez("f.npz", worse_label=np.array([2, 1, 0, 0], np.int8))
    found = labels_sha256(np.array([2, 1, 0, 0]))
    assert read("f.npz", "worse_label", found) == [2, 1, 0, 0]
    with pytest.raises(CampaignError, match=r"^label_noise.sha256: f.npz: column worse_label has other labels"):
        read("f.npz", "worse_label", "0" * 64)


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        ({"k": [0] * 4}, "column: f.parquet: has no column 'l', only k"),
        ({"l": [0] * 3}, "file: f.parquet: without a column example_id must have a row for each of 4 .*, got 3"),
        ({"l": [0, 1, 3, 1]}, "column: f.parquet: column l must be one of the 3 classes, .*, got 3 of example 2"),
        ({"l": [0, 1, -1, 1]}, "column: .* got -1 of example 2"),
        ({"l": ["cat", "cow", "dog", "dog"], "example_id": [3, 2, 1, 0]}, "column: .* got 'cow' of example 2"),
        ({"l": [0, 1, None, 1]}, "column: f.parquet: column l must have a label for each example, got none for 1"),
        ({"l": [0.5] * 4}, "column: f.parquet: column l must hold class numbers or class names, got double"),
        ({"l": [True] * 4}, "column: f.parquet: column l must hold class numbers or class names, got bool"),
        ({"l": [0] * 4, "example_id": [0, 1, 1, 3]}, "file: .* column example_id must hold each of 0 to 3 once"),
    ],
)
def test_labels_that_do_not_fit_are_told(
    write_table: Callable[..., str], columns: dict[str, object], line: str
) -> None:
    with pytest.raises(CampaignError, match=f"^label_noise.{line}") as caught:
        read(write_table(**columns))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04rest", b"PAR1rest", None])
def test_a_file_that_is_no_table_is_told(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "f").write_bytes(content)
    with pytest.raises(CampaignError, match=r"^label_noise.(file|column): ") as caught:
        read(str(tmp_path / "f"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "noise",
    [{"file": "f"}, {"column": "l"}, {"file": "f", "column": "l", "fraction": 0.1}, {"sha256": "0" * 64}],
)
def test_fields_that_do_not_go_together_are_refused(noise: dict[str, object]) -> None:
    with pytest.raises(CampaignError, match="label_noise"):
        small_campaign(label_noise=noise)


@pytest.mark.slow
def test_real_noise_is_trained_on_and_judged(tmp_path: Path) -> None:
    """The content decides the identity, wherever the file lies; `noise` judges it."""
    true = np.asarray(load_dataset(Digits()).train_labels)
    given = true.copy()
    given[::9] = (given[::9] + 3) % 10
    file = tmp_path / "labels.csv"
    pd.DataFrame({"human": given}).to_csv(file, index=False)
    campaign = small_campaign(
        label_noise={"file": str(file), "column": "human"}, subsets={"ratios": [0.5], "repetitions": 4}
    )
    run_campaign(campaign, tmp_path / "s")
    view = open_store(tmp_path / "s")
    train = view.examples("train")
    assert (train["given_label"].tolist(), train["label"].tolist()) == (given.tolist(), true.tolist())
    noise = view.noise().set_index("score")
    assert 0.8 * len(given[::9]) < noise["noisy"].loc["mem"] <= len(given[::9])
    assert view.campaign.label_noise.sha256 == labels_sha256(given)
    moved = file.rename(tmp_path / "moved.csv")
    elsewhere = small_campaign(
        label_noise={"file": str(moved), "column": "human"}, subsets={"ratios": [0.5], "repetitions": 6}
    )
    assert run_campaign(elsewhere, tmp_path / "s").progress.trained == 2
    given[0] = (given[0] + 1) % 10
    pd.DataFrame({"human": given}).to_csv(moved, index=False)
    with pytest.raises(StoreMismatchError, match="label_noise.sha256"):
        run_campaign(elsewhere, tmp_path / "s")
    plain = small_campaign(subsets={"ratios": [0.5], "repetitions": 4})
    with pytest.raises(StoreMismatchError, match="label_noise.sha256"):
        run_campaign(plain, tmp_path / "s")


def test_labels_are_found_beside_the_campaign_file_and_sent_along(tmp_path: Path) -> None:
    labels = np.asarray(load_dataset(Digits()).train_labels)
    np.savez(tmp_path / "labels.npz", given=labels)
    noise = {"file": "labels.npz", "column": "given"}
    (tmp_path / "c.yaml").write_text(dump_campaign(small_campaign(label_noise=noise)))
    result = CliRunner().invoke(app, ["plan", str(tmp_path / "c.yaml")], catch_exceptions=False)
    assert result.exit_code == 0
    campaign = small_campaign(label_noise=noise).with_absolute_paths(tmp_path)
    sent, files = with_sent_tables(campaign)
    assert (sent.label_noise.file, files) == (LABELS_FILE, {LABELS_FILE: tmp_path / "labels.npz"})
    with driver_folder("", None, files) as folder:
        assert read_given_labels(sent.with_absolute_paths(folder).label_noise, len(labels), "0123456789").tolist() == (
            labels.tolist()
        )
    with pytest.raises(CampaignError, match=r"^label_noise.file: must be a file of this machine"):
        with_sent_tables(campaign.with_label_noise(file="/none"))
