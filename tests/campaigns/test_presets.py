"""The presets of experiments too large for a CPU: each can be planned, and trains at a reduced size."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.replicate.size import Size, with_epochs
from orchestrator.presets import NAMES, preset_text
from tests.command import call
from tests.datasets.support import save_array
from workers.campaign.yaml_io import check_campaign, dump_campaign, parse_campaign

LARGE = ("cifar10-forgetting", "cifar100-influence", "imagenet-influence", "svhn-filtering")
TRAINING, TESTS, SIDE = 10, 4, 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten training images of two classes as an image folder, and a score of each."""
    path = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for split, count in (("train", TRAINING), ("val", TESTS)):
        for number in range(count):
            pixels = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            save_array(path / "data" / split / f"class {number % 2}" / f"{number}.png", pixels)
    pd.DataFrame({"cscore": random.random(TRAINING)}).to_csv(path / "scores.csv", index=False)
    return path


def reduced(name: str, folder: Path, model: dict[str, Any] | None = None) -> tuple[Path, int]:
    """The file of a preset's campaign on the folder's images, and its number of runs."""
    document = Size(epochs=1, runs=2, batch_size=5).of(parse_campaign(preset_text(name)).model_dump(mode="json"))
    document["dataset"] = {"name": "image-folder", "root": "data", "size": SIDE}
    document["model"] = model or document["model"]
    if document["subsets"]["design"] == "explicit":
        document["subsets"] |= {"scores": {"file": "scores.csv", "column": "cscore"}, "ratios": [0.8]}
    file = folder / f"{name}-{document['model']['name']}.yaml"
    file.write_text(dump_campaign(check_campaign(document)))
    return file, document["subsets"]["repetitions"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cifar10-forgetting", "cifar100-influence"])
def test_a_large_preset_can_be_planned_with_its_own_model(name: str, folder: Path) -> None:
    file, runs = reduced(name, folder)
    code, planned, error = call("plan", file)
    assert (code, f"{runs:,} runs to train" in planned) == (0, True), planned + error


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_a_large_preset_trains_a_small_model(name: str, folder: Path) -> None:
    file, runs = reduced(name, folder, {"name": "small-cnn", "width": 4, "hidden": 8})
    store = file.with_suffix("")
    code, told, error = call("run", file, "--store", store, "--runner", "local")
    assert (code, f"{runs} of {runs} runs" in told) == (0, True), error
    command = {"forgetting": "forgetting", "influence": "influence", "filtering": "removal"}[name.rpartition("-")[2]]
    code, _, error = call(command, store)
    assert code == 0, error


@pytest.mark.parametrize("name", NAMES)
def test_a_shorter_recipe_is_a_recipe(name: str) -> None:
    """Whatever the schedule, down to one epoch."""
    document = parse_campaign(preset_text(name)).model_dump(mode="json")
    for epochs in (1, 2, 7):
        assert check_campaign(Size(epochs=epochs).of(document)).recipe.epochs == epochs


def test_a_schedule_is_stretched_with_the_epochs() -> None:
    steps = {"epochs": 200, "schedule": {"name": "step", "milestones": [60, 120, 160], "factor": 0.2}}
    assert with_epochs(steps, 20)["schedule"]["milestones"] == [6, 12, 16]
    assert with_epochs(steps, 2)["schedule"]["milestones"] == [1]
    peaked = {"epochs": 160, "schedule": {"name": "triangular", "peak_epoch": 24.0}}
    assert with_epochs(peaked, 40)["schedule"]["peak_epoch"] == 6
