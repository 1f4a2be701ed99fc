"""The commands and snippets of docs/learning.md work as they stand."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from orchestrator import run_campaign
from orchestrator.cli import app
from tests.conftest import small_campaign
from workers.campaign import Record

PAGE = (Path(__file__).parents[1] / "docs" / "learning.md").read_text()
COMMANDS = re.findall(r"^\$ longtail (.*)$", PAGE, flags=re.MULTILINE)
PARTS = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_page_works_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record, subsets = (yaml.safe_load(text) for text in PARTS)
    campaign = small_campaign(
        recipe={"epochs": 4, "batch_size": 64}, subsets={"ratios": [0.5, 0.7, 1.0], "repetitions": 4}, **record
    )
    assert campaign.record == Record(presentations=True, probabilities=True)
    noisy = campaign.model_copy(update={"label_noise": small_campaign(label_noise={"fraction": 0.1}).label_noise})
    run_campaign(campaign, tmp_path / "runs" / "mnist")
    run_campaign(noisy, tmp_path / "runs" / "noisy")
    plain = small_campaign().model_dump(mode="json")
    (tmp_path / "removal.yaml").write_text(yaml.safe_dump({**plain, **subsets}))
    monkeypatch.chdir(tmp_path)
    assert len(COMMANDS) >= 9
    for command in COMMANDS:
        done = CliRunner().invoke(app, shlex.split(command), catch_exceptions=False)
        assert done.exit_code == 0, (command, done.output)
    assert {path.name for path in tmp_path.glob("*.png")} == {
        *("forgetting.png", "profiles.png", "learning.png", "noise.png", "removal.png")
    }
    (snippet,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    exec(compile(snippet.replace("store.noise()", ""), "learning.md", "exec"), {})  # noqa: S102 - our own page
