"""The replication table: the page is written from its file, rows can be made, and verdicts follow from figures."""

import json
import runpy
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest

import analysis
from benchmarks.replicate.cost import gpu_hours
from benchmarks.replicate.experiments import EXPERIMENTS
from benchmarks.replicate.experiments.adaptive import nearest_distances
from benchmarks.replicate.lab import Lab, Outcome
from benchmarks.replicate.page import END, PAGE, SOURCES, START, hours_text, tables, with_tables
from benchmarks.replicate.rows import FILE, Measurement, Row, Verdict, read_table, record
from benchmarks.replicate.size import Size
from orchestrator import RunOptions
from orchestrator.presets import NAMES
from tests.datasets.support import write_idx

TABLE = read_table()


def made(*words: str | Path) -> int:
    """The exit code of the command."""
    sys.argv = ["replicate", *map(str, words)]
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("benchmarks.replicate", run_name="__main__", alter_sys=True)
    return int(ended.value.code or 0)


def test_the_page_has_the_tables_of_the_file() -> None:
    text = PAGE.read_text()
    assert with_tables(text, TABLE) == text, "python -m benchmarks.replicate --page writes it"
    assert all(meaning in text for meaning in SOURCES.values())
    with pytest.raises(ValueError, match="must have the lines"):
        with_tables(text.replace(END, ""), TABLE)


def test_every_row_says_how_it_is_made_or_what_is_missing() -> None:
    for row in TABLE.rows:
        assert (row.experiment is None) == (row.missing is not None), row.id
        assert row.experiment is None or row.experiment in EXPERIMENTS, row.id
        assert row.experiment is None or row.preset in NAMES, row.id
        assert row.preset is None or row.preset in NAMES, row.id
    assert set(EXPERIMENTS) == {row.experiment for row in TABLE.rows} - {None}
    assert all(f"`{row.id}`" in tables(TABLE) for row in TABLE.rows)


def test_what_was_not_run_says_what_it_needs() -> None:
    lines = {line.split("`")[1]: line for line in tables(TABLE).splitlines() if line.startswith("| `")}
    assert "not run at full size: needs about 700 GPU-hours" in lines["cifar100-pairs"]
    assert "not run" not in lines["mnist-pairs"]
    assert [hours_text(hours) for hours in (0.02, 0.016, 0.67, 4.4, 700.3, 17_832)] == [
        *("1 GPU-minute", "1 GPU-minute", "0.7 GPU-hours", "4.4 GPU-hours", "700 GPU-hours", "18,000 GPU-hours")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["mnist-influence", "cifar10-resnet9"])
def test_gpu_hours_are_those_of_the_preset(preset: str) -> None:
    assert gpu_hours(preset) == pytest.approx(TABLE.gpu_hours[preset], rel=0.2)


@pytest.mark.slow
def test_a_row_is_made_at_reduced_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The figure is that of the store which the command trained."""
    words = ("digits-memorized", "digits-utility", "--reduced", "--stores", tmp_path, "--runner", "local")
    assert made(*words) == 0
    output = capsys.readouterr().out
    kept = json.loads((tmp_path / "digits-memorized-reduced.json").read_text())
    (store,) = (
        path for path in tmp_path.iterdir() if path.is_dir() and "uniform" in (path / "campaign.json").read_text()
    )
    memorized = int((analysis.open_store(store).memorization()["mem"] >= 0.25).sum())
    assert (kept["numbers"]["memorized"], kept["runs"]) == (memorized, 24)
    assert f"{memorized} ± " in output
    assert kept["value"] in output
    utility = json.loads((tmp_path / "digits-utility-reduced.json").read_text())
    assert (utility["runs"], utility["size"], utility["verdict"]) == (36, "10 epochs", "agrees in kind")
    assert utility["numbers"]["t0.25"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "proxies",
        "filtering",
        "learning-speed",
        "curriculum",
        "margins",
        "pair-removal",
        "last-layer",
        "partitions",
        "forgetting-pixel-noise",
    ],
)
def test_an_experiment_says_what_came_of_it(name: str, tmp_path: Path) -> None:
    """On few runs of a small network: its parts fit together, whatever the verdict."""
    size = Size(epochs=4, runs=12, removal_runs=6, recipe_runs=3, model={"hidden": [16]})
    row = TABLE.row("digits-pairs").model_copy(update={"reduced": size})
    lab = Lab(row, "reduced", None, tmp_path, RunOptions(runner="local"))
    outcome = EXPERIMENTS[name](lab)
    assert outcome.verdict in get_args(Verdict)
    assert all(np.isfinite(value) for value in outcome.numbers.values())
    assert lab.runs >= 12


@pytest.mark.slow
def test_architectures_have_curves(tmp_path: Path) -> None:
    """The line of a comparison is that of `compare` on the stores; the page has a table of them."""
    models = {"small": {"name": "mlp", "hidden": [4]}, "large": {"name": "mlp", "hidden": [16]}}
    size = Size(examples=60, tests=20, image_size=12, epochs=2, runs=8, model_runs={"large": 6}, models=models)
    row = TABLE.row("digits-architectures").model_copy(update={"reduced": size})
    lab = Lab(row, "reduced", None, tmp_path, RunOptions(runner="local"))
    outcome = EXPERIMENTS["architectures"](lab)
    assert lab.runs == 2 * 8 + 2 * 6
    curves = pd.read_csv(tmp_path / "digits-architectures-reduced-curves.csv")
    assert curves.groupby(["compared", "selects"]).size().to_dict() == {
        (what, selects): 4 for what in ("small twice", "large twice", "small and large") for selects in ("mem", "infl")
    }
    stores = {_campaign_text(path): path for path in tmp_path.iterdir() if _campaign_text(path)}
    a, b = (path for text, path in sorted(stores.items()) if json.loads(text)["campaign"]["model"]["hidden"] == [4])
    twice = curves[(curves["compared"] == "small twice") & (curves["selects"] == "mem")]
    by_hand = analysis.compare(a, b, thresholds=twice["threshold"].tolist()).curve
    np.testing.assert_allclose(twice["jaccard"], by_hand["jaccard"])
    measured = TABLE.measured[0].model_copy(update={"row": row.id, "size": "few", "curves": outcome.curves})
    page = tables(TABLE.model_copy(update={"measured": [measured]}))
    assert "| compared | mem >= 0.1 | mem >= 0.25 |" in page
    assert all(f"| {what} | " in page for what in outcome.curves)


def write_mnist(folder: Path) -> None:
    """60 training and 30 test images of noise."""
    random = np.random.default_rng(0)
    for name, count in (("train", 60), ("t10k", 30)):
        write_idx(
            folder / "MNIST" / "raw" / f"{name}-images-idx3-ubyte", random.integers(0, 256, (count, 28, 28), np.uint8)
        )
        write_idx(folder / "MNIST" / "raw" / f"{name}-labels-idx1-ubyte", np.arange(count, dtype=np.uint8) % 10)


@pytest.mark.slow
def test_examples_like_the_lowest_are_collected(tmp_path: Path) -> None:
    """The first examples are in all subsets; the nearest others in those of the rule, any others in the control's."""
    write_mnist(tmp_path)
    model = {"name": "mlp", "hidden": [4]}
    size = Size(examples=40, tests=10, epochs=1, runs=4, batch_size=8, model=model, collected=(20, 4), recipe_runs=3)
    row = TABLE.row("mnist-collection").model_copy(update={"reduced": size})
    lab = Lab(row, "reduced", tmp_path, tmp_path / "stores", RunOptions(runner="local"))
    outcome = EXPERIMENTS["collection"](lab)
    assert outcome.verdict in get_args(Verdict)
    assert lab.runs == 5 * 4 + 2 * 3
    (table,) = (tmp_path / "stores").glob("*-collected.parquet")
    like = pd.read_parquet(table)["like_lowest"].to_numpy()
    (store,) = (path for path in (tmp_path / "stores").iterdir() if "like_lowest" in _campaign_text(path))
    subsets = analysis.open_store(store).subsets().to_numpy()
    assert subsets[:, :20].all() and (subsets.sum(axis=1) == 24).all()
    assert (subsets[::2] == (like > 0)).all()
    assert len({tuple(subset) for subset in subsets[1::2]}) > 1


def _campaign_text(folder: Path) -> str:
    file = folder / "campaign.json"
    return file.read_text() if file.exists() else ""


def test_distances_are_to_the_nearest() -> None:
    images, others = np.random.default_rng(0).random((5, 3)), np.random.default_rng(1).random((4, 3))
    slow = [min(((image - other) ** 2).sum() for other in others) for image in images]
    np.testing.assert_allclose(nearest_distances(images, others), slow)


@pytest.mark.slow
def test_a_row_of_mnist_takes_the_first_images(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    row = TABLE.row("mnist-memorized").model_copy(update={"reduced": Size(examples=20, epochs=1, runs=2)})
    lab = Lab(row, "reduced", tmp_path, tmp_path / "stores", RunOptions(runner="local"))
    view = lab.train()
    assert view.examples("train")["label"].tolist() == [number % 10 for number in range(20)]
    assert (len(view.examples("test")), lab.runs, dict(lab.devices)) == (4, 2, {"cpu": 2})
    assert lab.train().store.uri == view.store.uri
    permuted = row.model_copy(update={"dataset": {"permute_pixels": 1}})
    other = Lab(permuted, "reduced", tmp_path, tmp_path / "stores", RunOptions(runner="local")).train()
    assert (other.store.uri != view.store.uri, other.campaign.dataset.model_dump()["permute_pixels"]) == (True, 1)


def test_a_row_without_its_data_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from workers.errors import DataError

    row = TABLE.row("mnist-pairs")
    with pytest.raises(DataError, match="mnist-pairs: needs mnist: give the folder of the data sets with --data"):
        Lab(row, "reduced", None, tmp_path, RunOptions(runner="local")).train()
    assert made("mnist-pairz") == 2
    assert "there is no mnist-pairz" in capsys.readouterr().err
    assert made("mnist-gallery") == 2
    assert "error: mnist-gallery: `longtail report STORE`" in capsys.readouterr().err
    assert made("mnist-pairs", "--stores", tmp_path) == 2
    assert "error: mnist-pairs: needs mnist" in capsys.readouterr().err, "one line, no traceback"


@pytest.mark.parametrize(
    ("size", "stand_in", "value", "verdict"),
    [
        ("full", False, 0.90, "agrees"),
        ("full", False, 0.70, "differs"),
        ("full", True, 0.917, "not comparable"),
        ("reduced", False, 0.917, "not comparable"),
    ],
)
def test_a_verdict_compares_like_with_like(size: str, stand_in: bool, value: float, verdict: str) -> None:
    row = TABLE.row("mnist-unforgettable").model_copy(update={"stand_in": stand_in})
    assert _lab(row, size).compared(value, 0.001)[0] == verdict


def test_a_statement_that_does_not_hold_differs() -> None:
    row = TABLE.row("mnist-utility")
    assert _lab(row, "full").judged("x", True, "claim", {}) == Outcome("x", "agrees", "claim", {})
    assert _lab(row, "reduced").judged("x", True, "claim", {}).verdict == "agrees in kind"
    reason = "it does not hold here that claim"
    assert _lab(row, "full").judged("x", False, "claim", {}) == Outcome("x", "differs", reason, {})


def _lab(row: Row, size: str) -> Lab:
    return Lab(row, size, None, Path(), RunOptions(runner="local"))  # type: ignore[arg-type]


def test_a_measurement_replaces_that_of_its_size(tmp_path: Path) -> None:
    copy = tmp_path / "rows.yaml"
    copy.write_text(FILE.read_text())
    new = Measurement(row="mnist-pairs", size="full", value="1 pair", runs=3, machine="here", verdict="differs")
    record(new, copy)
    record(new.model_copy(update={"size": "small"}), copy)
    after = read_table(copy)
    assert [each.value for each in after.measurements(after.row("mnist-pairs"))] == ["1 pair", "1 pair"]
    assert len(after.measured) == len(TABLE.measured) + 1
    assert copy.read_text().partition("\n---\n")[0] == FILE.read_text().partition("\n---\n")[0], "comments stay"
    assert START in PAGE.read_text()
    copy.write_text(copy.read_text().replace("row: mnist-pairs", "row: mnist-pears"))
    with pytest.raises(ValueError, match="unknown rows: mnist-pears"):
        read_table(copy)
