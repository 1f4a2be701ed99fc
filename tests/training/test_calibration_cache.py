"""Calibrations that are remembered, and files in their place that hold none."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from workers.store.stack_program import StackProgram
from workers.training.calibration_cache import CalibrationRecord
from workers.training.stack_choice import StackChoice

LARGEST = 4
STREAMS = StackChoice(2, StackProgram(kind="streams", compiled=True))


def write_entry(path: Path, **different: object) -> None:
    """An answer to the question but for one part."""
    entry: dict[str, object] = {"question": {"a": 1}, "stack_size": 2, "program": {}, **different}
    path.write_text(json.dumps(entry))


FILES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: None,
    "no JSON": lambda path: path.write_bytes(b"\xff\x00"),
    "deep JSON": lambda path: path.write_text("[" * 10_000),
    "a size that is not a number": lambda path: path.write_text('{"question": {"a": 1}, "stack_size": NaN}'),
    "a size that was not asked for": lambda path: write_entry(path, stack_size=5),
    "no program": lambda path: path.write_text('{"question": {"a": 1}, "stack_size": 2}'),
    "an unknown program": lambda path: write_entry(path, program={"kind": "other"}),
    "another question": lambda path: write_entry(path, question={"a": 2}),
    "a link to itself": lambda path: path.symlink_to(path),
    "a pipe": os.mkfifo,
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_answer_is_measured_again(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAIL_CACHE", str(tmp_path))
    record = CalibrationRecord({"a": 1})
    record.path.parent.mkdir()
    FILES[name](record.path)
    assert record.read(LARGEST) is None
    record.write(STREAMS)
    assert record.read(LARGEST) == STREAMS
    assert record.path.is_file() and not record.path.is_symlink()


def test_a_folder_in_its_place_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAIL_CACHE", str(tmp_path))
    record = CalibrationRecord({"a": 1})
    record.path.mkdir(parents=True)
    record.write(STREAMS)
    assert record.read(LARGEST) is None
    assert list(record.path.parent.iterdir()) == [record.path]
