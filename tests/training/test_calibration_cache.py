"""Calibrations that are remembered, and files in their place that hold none."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from workers.training.calibration_cache import CalibrationRecord

SIZES = (1, 2, 4)
FILES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: None,
    "no JSON": lambda path: path.write_bytes(b"\xff\x00"),
    "deep JSON": lambda path: path.write_text("[" * 10_000),
    "a size that is not a number": lambda path: path.write_text('{"question": {"a": 1}, "stack_size": NaN}'),
    "a size that was not asked for": lambda path: path.write_text('{"question": {"a": 1}, "stack_size": 3}'),
    "another question": lambda path: path.write_text('{"question": {"a": 2}, "stack_size": 2}'),
    "a link to itself": lambda path: path.symlink_to(path),
    "a pipe": os.mkfifo,
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_answer_is_measured_again(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAIL_CACHE", str(tmp_path))
    record = CalibrationRecord({"a": 1})
    record.path.parent.mkdir()
    FILES[name](record.path)
    assert record.read(SIZES) is None
    record.write(2)
    assert record.read(SIZES) == 2
    assert record.path.is_file() and not record.path.is_symlink()


def test_a_folder_in_its_place_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAIL_CACHE", str(tmp_path))
    record = CalibrationRecord({"a": 1})
    record.path.mkdir(parents=True)
    record.write(2)
    assert record.read(SIZES) is None
    assert list(record.path.parent.iterdir()) == [record.path]
