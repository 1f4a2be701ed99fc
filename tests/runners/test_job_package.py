"""What `longtail submit` sends to a cluster, and what it does not."""

from pathlib import Path

import pytest

from orchestrator.runners.ray.job_package import (
    CAMPAIGN_FILE,
    absolute_store,
    driver_command,
    driver_folder,
    driver_name,
)
from orchestrator.runners.run_options import RunOptions
from workers.errors import CampaignError


def test_a_store_has_one_name_however_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ways = ("s", "./s/", "x/../s", f"{tmp_path}/s", f"file://{tmp_path}/s")
    assert {absolute_store(way) for way in ways} == {str(tmp_path / "s")}
    assert absolute_store("s3://bucket/s/") == absolute_store("s3://bucket/s") == "s3://bucket/s"
    assert driver_name("s3://bucket/s") == "longtail-0a02cc505987"
    assert driver_name("s3://bucket/t") != driver_name("s3://bucket/s")


def test_passwords_are_refused_and_not_repeated() -> None:
    with pytest.raises(CampaignError, match="--store: must not hold a password, got one for s3://bucket/s;") as caught:
        absolute_store("s3://me:hunter2@bucket/s")
    assert "hunter2" not in str(caught.value)


def test_nothing_in_a_store_s_name_reaches_the_shell() -> None:
    command = driver_command("/s; rm -rf $HOME", RunOptions(runner="ray", address="auto", workers=2))
    assert command.endswith("--store '/s; rm -rf $HOME' --address auto --workers 2 --runner ray")


def test_the_folder_sent_is_the_one_asked_for(tmp_path: Path) -> None:
    code = tmp_path / "code"
    (code / "package").mkdir(parents=True)
    (code / "package" / "model.py").write_text("x = 1")
    (code / "same.py").symlink_to("package/model.py")
    with driver_folder("campaign", str(code), {}) as folder:
        assert (folder / CAMPAIGN_FILE).read_text() == "campaign"
        assert (folder / "package" / "model.py").read_text() == (folder / "same.py").read_text() == "x = 1"
        assert sorted(path.name for path in folder.iterdir()) == [CAMPAIGN_FILE, "package", "same.py"]
    assert not folder.exists()
    assert sorted(path.name for path in code.iterdir()) == ["package", "same.py"]


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("/etc/hostname", "outside of the folder"),
        ("../../other", "outside of the folder"),
        ("..", "which holds the link itself"),
        (".", "which holds the link itself"),
        ("nowhere", "which is missing"),
    ],
)
def test_links_that_lead_elsewhere_are_refused(target: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "code" / "inner").mkdir(parents=True)
    (tmp_path / "code" / "inner" / "link").symlink_to(target)
    with (
        pytest.raises(CampaignError, match=f"--working-dir: .*/inner/link leads to .*, {problem}"),
        driver_folder("", str(tmp_path / "code"), {}),
    ):
        pass


def test_folders_that_cannot_be_meant_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home" / "me"))
    (tmp_path / "home" / "me").mkdir(parents=True)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / CAMPAIGN_FILE).write_text("")
    for given, message in {
        "missing": "must be a folder",
        "home/me": "holds your home folder with its keys",
        "home": "holds your home folder with its keys",
        "taken": f"has a {CAMPAIGN_FILE}",
    }.items():
        with pytest.raises(CampaignError, match=message), driver_folder("", str(tmp_path / given), {}):
            pass
