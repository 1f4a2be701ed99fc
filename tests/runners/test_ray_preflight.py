"""The cluster's token and Ray's temporary files are this user's alone; a head that is gone is noticed."""

import os
import queue
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.runners.ray import cluster, head_watch, jobs
from orchestrator.runners.ray.head_watch import Outage, head_problem, watch_head
from orchestrator.runners.ray.preflight import ClusterError, check_token_file, make_token
from tests.conftest import small_campaign
from workers.campaign.yaml_io import dump_campaign


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this user's token is; there is none yet, and nothing in the environment."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".ray" / "auth_token"


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_token_is_made_readable_to_its_user_alone(token: Path) -> None:
    former = os.umask(0)
    try:
        make_token()
    finally:
        os.umask(former)
    assert (mode(token.parent), mode(token)) == (0o700, 0o600)
    text = token.read_text()
    assert len(text) == 64
    make_token()
    assert token.read_text() == text
    check_token_file()


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o622, 0o644, 0o777])
def test_a_token_that_others_can_read_is_refused(bits: int, token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_token()
    other = token.with_name("else where")
    other.write_text("secret")
    for path in (token, other):
        path.chmod(bits)
        with pytest.raises(
            ClusterError, match=rf"{path}: other users .* \(its mode is {bits:04o}, must be 0600\): chmod"
        ):
            check_token_file()
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(other))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "given")
    check_token_file()  # no file is read
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    check_token_file()


@pytest.mark.slow
def test_every_command_that_uses_the_token_refuses_it(token: Path, tmp_path: Path) -> None:
    from orchestrator.cli.app import app

    make_token()
    token.chmod(0o644)
    secret = token.read_text()
    path = tmp_path / "campaign.yaml"
    path.write_text(dump_campaign(small_campaign()))
    store = str(tmp_path / "s")
    address = ["--address", "127.0.0.1:9"]
    for words in (
        ["run", str(path), "-s", store, "--runner", "ray", "--device", "cpu"],
        ["run", str(path), "-s", store, "--runner", "ray", "--device", "cpu", *address],
        ["tune", str(path), "-o", str(tmp_path / "t.yaml"), "--trials", "1"],
        ["tune", str(path), "-o", str(tmp_path / "u.yaml"), "--trials", "1", *address],
        ["submit", str(path), "-s", store, "--address", "http://127.0.0.1:9"],
    ):
        result = CliRunner().invoke(app, words)
        assert isinstance(result.exception, ClusterError), (words, result.output, result.exception)
        assert str(result.exception).endswith(f": chmod 600 {token}"), words
        assert secret not in str(result.exception) + result.output


def test_rays_temporary_files_are_in_a_folder_of_this_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.runners.ray.cluster import private_folder

    monkeypatch.setattr("orchestrator.runners.ray.cluster._MAX_BASE", 1_000)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    folder = private_folder()
    assert (folder.parent, mode(folder)) == (tmp_path, 0o700)
    folder.chmod(0o777)
    assert (private_folder(), mode(folder)) == (folder, 0o700)
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ClusterError, match="is not a folder of this user; RAY_TMPDIR names another place"):
        private_folder()


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def place(listener: socket.socket) -> str:
    return f"127.0.0.1:{listener.getsockname()[1]}"


def test_what_a_head_says_shows_whether_it_lives(listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gRPC server answers, and what closes a connection lives; what stands still or is gone does not."""
    import grpc

    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    assert head_problem(f"127.0.0.1:{port}") is None
    server.stop(0).wait()

    closing = threading.Thread(target=lambda: listening.accept()[0].close())
    closing.start()
    assert head_problem(place(listening)) is None
    closing.join()

    monkeypatch.setattr(head_watch, "_PROBE_SECONDS", 0.05)
    assert head_problem(place(listening)) == "it accepts connections and sends nothing"
    address = place(listening)
    listening.close()
    assert "refused" in str(head_problem(address))


def test_only_an_outage_at_a_stretch_counts() -> None:
    outage = Outage()
    assert outage.seconds("silent", 0, 2) == 2
    assert outage.seconds("silent", 10, 12) == 12
    assert outage.seconds(None, 13, 13) == 0
    assert outage.seconds("silent", 100, 101) == 1, "this process was stopped in between"


def test_a_lost_head_is_told_once(listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_watch, "HEAD_SECONDS", 0.0)
    address, told = place(listening), queue.SimpleQueue[str]()
    listening.close()
    with watch_head(address, told.put):
        line = told.get(timeout=60)
    assert line == f"the Ray cluster's head at {address} does not answer: [Errno 111] Connection refused"
    assert told.empty()


def test_a_head_that_is_silent_is_told_within_seconds_and_may_come_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert head_watch.NOTICE_SECONDS + head_watch._EVERY_SECONDS + head_watch._PROBE_SECONDS <= 6
    over, now = threading.Event(), 0.0

    def problem(address: str) -> str | None:
        nonlocal now
        now += 1.0
        if now > 12:
            over.set()
        return "refused" if 2 <= now <= 8 else None

    monkeypatch.setattr(head_watch, "head_problem", problem)
    monkeypatch.setattr(head_watch, "_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    head_watch._watch("host:1", over, lambda line: pytest.fail(line))
    assert capsys.readouterr().err.splitlines() == [
        "note: the Ray cluster's head at host:1 does not answer (refused); after 20 seconds this command ends",
        "note: the Ray cluster's head at host:1 answers again",
    ]


def test_a_frozen_dashboard_ends_the_command(listening: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel still accepts connections for it."""
    monkeypatch.setattr(jobs, "_TIMEOUT_SECONDS", (10.0, 0.05))
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    address = f"http://{place(listening)}"
    with pytest.raises(ClusterError) as caught:
        jobs.Jobs(address)
    assert str(caught.value) == (
        f"the Ray dashboard at '{address}' does not answer: it accepts connections and sends nothing"
    )


@pytest.mark.usefixtures("token")
def test_daemons_of_a_ray_that_does_not_start_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that is too busy Ray gives up after 30 seconds, with a bare Exception."""
    started: list[subprocess.Popen[bytes]] = []

    def init(**options: dict[str, object]) -> None:
        options["_system_config"]["added"] = "by ray.init, as it does"
        started.append(subprocess.Popen(["sleep", "600"]))
        raise Exception("The current node timed out during startup.\nMore.")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray.init", init)
    with pytest.raises(ClusterError, match="^no Ray cluster can be started on this machine: The current"):
        cluster.connect(None, 1, None)
    (daemon,) = started
    assert daemon.wait(timeout=60) == -signal.SIGKILL
    assert "added" not in cluster.HEALTH_CHECKS
