"""Output that cannot be written: a full disk, a closed pipe."""

import os
import subprocess
from pathlib import Path

import pytest

from benchmarks.isolation import longtail
from tests.campaigns.test_run import runs_of
from tests.conftest import small_campaign
from workers.campaign.yaml_io import dump_campaign

FULL = Path("/dev/full")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not FULL.exists(), reason="no /dev/full on this system")]


def closed_pipe() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def ended(words: list[object], output: int) -> tuple[int, str]:
    """(exit code, standard error) of a command whose standard output is this descriptor."""
    try:
        done = subprocess.run(longtail(*words), stdout=output, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(output)
    return done.returncode, done.stderr


def test_training_goes_on_and_other_commands_end(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(dump_campaign(small_campaign()))
    for name, output, why in (
        ("full", os.open(FULL, os.O_WRONLY), "No space left on device"),
        ("closed", closed_pipe(), "Broken pipe"),
    ):
        code, error = ended(["run", tmp_path / "c.yaml", "--store", tmp_path / name], output)
        assert (code, len(runs_of(tmp_path / name))) == (0, 6), error
        told = f"note: standard output could not be written ({why}); the work went on without it"
        assert error.splitlines()[-1] == told
    store = tmp_path / "full"
    assert ended(["status", store], os.open(FULL, os.O_WRONLY)) == (
        1,
        "error: standard output cannot be written: No space left on device\n",
    )
    assert ended(["status", store], closed_pipe()) == (1, "")


def test_errors_that_nobody_can_read_change_no_exit_code(tmp_path: Path) -> None:
    with FULL.open("w") as full:
        done = subprocess.run(longtail("status", tmp_path / "none"), stdout=full, stderr=full, check=False)
    assert done.returncode == 2  # there is no store
