"""The first lines of `plan` and `run`: which data were read."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from orchestrator.cli.app import app
from orchestrator.cli.data_summary import data_lines
from orchestrator.cli.output import show_data
from tests.conftest import small_campaign
from tests.datasets.support import make_dataset
from workers.campaign.yaml_io import dump_campaign

DIGITS = "data: 1,437 training and 360 test examples of 1 x 8 x 8, 10 classes (0, 1, 2, ... 9)"


def test_sizes_shape_classes_and_notes() -> None:
    dataset = make_dataset(notes=["1 file skipped: a.txt is no image", *map(str, range(12))])
    first, *notes = data_lines(dataset)
    assert first == "data: 4 training and 2 test examples of 3 x 2 x 2, 3 classes (a, b, c)"
    assert notes[0] == "data: 1 file skipped: a.txt is no image"
    assert (len(notes), notes[-1]) == (11, "data: 3 more notes")
    rows: dict[str, Any] = {}
    rows |= {"train_images": np.zeros((4, 5), np.float32), "test_images": np.zeros((0, 5), np.float32)}
    rows |= {"test_labels": np.zeros(0, int), "class_names": ("x" * 99, *"abcdef")}
    (line,) = data_lines(make_dataset(**rows))
    assert line == f"data: 4 training and no test examples of 5 features, 7 classes ({'x' * 21}..., a, b, ... f)"


def test_a_name_begins_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    show_data(make_dataset(class_names=("cat\nnext: b", "dog", "eel")))
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith(r"3 classes (cat\nnext: b, dog, eel)")


@pytest.mark.parametrize("words", [["plan"], ["run", "--store", "s"]])
def test_commands_open_with_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text(dump_campaign(small_campaign(subsets={"ratios": [0.5], "repetitions": 1})))
    result = CliRunner().invoke(app, [words[0], "c.yaml", *words[1:]], catch_exceptions=False)
    assert result.output.splitlines()[0] == DIGITS
