"""What runs on the machines themselves: the watch for a spot machine's notice, and how the data get there."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.manifests import DEPLOY
from tests.metadata_service import MetadataService, metadata_service


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DEPLOY / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


spot_watch, fetch_data = script("spot_watch"), script("fetch_data")


def test_aws_announces_two_minutes_ahead() -> None:
    """With a token that expires, and after a recommendation without a time."""
    with metadata_service() as service:
        look = spot_watch.Aws(service.address)
        assert look() is None
        assert look() is None
        assert len(service.tokens) == 1
        service.tokens.clear()
        service.notices["events/recommendations/rebalance"] = '{"noticeTime": "2026-01-31T08:22:00Z"}'
        assert look() == spot_watch.Notice("rebalance recommendation", None)
        assert service.refused == 1
        service.announce_on_aws(120)
        notice = look()
    assert notice.reason == "spot terminate"
    assert 0 < notice.seconds <= 120


def test_google_cloud_announces_half_a_minute_ahead() -> None:
    with metadata_service() as service:
        look = spot_watch.Gcp(service.address)
        service.notices["instance/preempted"] = "FALSE"
        assert look() is None
        service.notices["instance/preempted"] = "TRUE\n"
        assert look() == spot_watch.Notice("preemption", 30)


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_the_node_is_drained_once_however_often_it_goes_wrong(
    cloud: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The metadata service fails, then `ray` does; what is wrong is printed once, and tried again."""
    ray = tmp_path / "ray"
    ray.write_text(
        f'#!/bin/sh\necho "$*" >> {tmp_path}/calls\n'
        f"[ $(wc -l < {tmp_path}/calls) -gt 2 ] || {{ echo no head; exit 1; }}"
    )
    ray.chmod(0o755)
    with metadata_service() as service:
        service.broken = True
        rounds = 0

        def pause(seconds: float) -> None:
            nonlocal rounds
            rounds += 1
            if rounds == 3:
                service.broken = False
                announce(service)

        monkeypatch.setattr(spot_watch.time, "sleep", pause)
        words = [
            "spot_watch.py",
            cloud,
            "head:6379",
            "--service",
            service.address,
            "--ray",
            str(ray),
            "--node-id",
            "abc",
        ]
        monkeypatch.setattr(sys, "argv", words)
        spot_watch.main()
    said = capsys.readouterr()
    assert said.err.splitlines() == ["HTTPError: HTTP Error 503: Service Unavailable", "OSError: no head"]
    assert said.out.startswith("drained: ")
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 3
    assert all(
        call.startswith("drain-node --address head:6379 --node-id abc --reason DRAIN_NODE_REASON_") for call in calls
    )
    assert all("--deadline-remaining-seconds " in call for call in calls)


def announce(service: MetadataService) -> None:
    service.announce_on_aws(120)
    service.notices["instance/preempted"] = "TRUE"


def test_data_are_brought_once_and_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, folder = tmp_path / "source", tmp_path / "node" / "data"
    for name, text in {"train/a.parquet": "aaaa", "train/b.parquet": "bb", "test.parquet": "c"}.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    assert fetch_data.fetch(source.as_uri(), folder) == (3, 0)
    kept = (folder / "test.parquet").stat().st_mtime_ns
    (folder / "train" / "a.parquet").write_text("a")  # cut short by whoever wrote it
    assert fetch_data.fetch(f"{source.as_uri()}/", folder) == (1, 2)
    assert (folder / "train" / "a.parquet").read_text() == "aaaa"
    assert (folder / "test.parquet").stat().st_mtime_ns == kept
    (source / "test.parquet").write_text("d")  # of the same size: corrected labels
    os.utime(source / "test.parquet", ns=(kept + 1, kept + 1))
    (folder / "train" / "c.parquet").touch()  # removed from the source since
    monkeypatch.setattr(sys, "argv", ["fetch_data.py", source.as_uri(), str(folder)])
    assert fetch_data.main() == 0
    assert (folder / "test.parquet").read_text() == "d"
    assert capsys.readouterr().err.endswith(f"files that are not in {source.as_uri()}: 1, first train/c.parquet\n")
    (folder / "train" / "c.parquet").unlink()
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == [
        "a.parquet",
        "b.parquet",
        "test.parquet",
    ]


def test_data_that_are_not_there_end_the_start_of_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "empty", tmp_path / "missing"):
        monkeypatch.setattr(sys, "argv", ["fetch_data.py", source.as_uri(), str(tmp_path / "data")])
        assert fetch_data.main() == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: {source.as_uri()} cannot be brought to {tmp_path / 'data'}: ")
