"""The README's snippets work as they stand."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from orchestrator import run_campaign
from orchestrator.presets import preset_text
from tests.isolation import longtail
from workers.campaign_file import check_campaign, parse_campaign
from workers.store import Store

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small demo store and the README's own code."""
    from analysis import write_estimates

    path = tmp_path_factory.mktemp("readme")
    run_campaign(parse_campaign(preset_text("digits")), path / "demo-store", repetitions=10)
    write_estimates(Store.open(path / "demo-store"))
    (path / "mycode.py").write_text(blocks("python")[2])
    return path


@pytest.mark.parametrize("place", [0, 1])
def test_queries(place: int, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", blocks("python")[place]],
        cwd=folder,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_own_data_and_model(folder: Path) -> None:
    lines = [line for line in blocks("yaml")[0].splitlines() if not line.startswith("#")]
    parts = [yaml.safe_load(line) for line in lines]
    rest = {"recipe": {"epochs": 1, "batch_size": 32}, "subsets": {"ratios": [0.5], "repetitions": 2}}
    for part in parts:
        check_campaign({**part, **rest})
    (folder / "c.yaml").write_text(yaml.safe_dump({**parts[2], **parts[3], **rest}))
    done = subprocess.run(
        longtail("run", "c.yaml", "--store", "mine"), cwd=folder, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "2 of 2 runs" in done.stdout) == (0, True), done.stderr


def test_commands_exist() -> None:
    commands = set(re.findall(r"^\$ longtail (\w+)", README, flags=re.MULTILINE))
    assert commands == {
        *("init", "tune", "plan", "run", "submit", "status", "estimate", "verify", "compact"),
        *("influence", "reliability", "datamodels", "compare", "import", "suspects", "forgetting", "report"),
    }


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (Path(__file__).parents[1] / target).exists(), target
