"""The user's own code may end a program, hang on, or raise what cannot be told: campaigns say so, in one line."""

import importlib
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.isolation import ROOT
from orchestrator.campaigns.campaign_report import CampaignProgress
from orchestrator.cli.app import app, interrupt
from orchestrator.cli.exit_codes import exit_code_of
from orchestrator.cli.throughput import Rate
from tests.command import without_progress
from tests.conftest import small_campaign
from workers.campaign.yaml_io import dump_campaign
from workers.errors import CampaignError, UserCodeError
from workers.user_code.boundary import format_traceback, user_code
from workers.user_code.loading import load_function

ENDINGS = {
    "exit": "sys.exit(0) was called",
    "interrupt": "KeyboardInterrupt",
    "base": "_OwnBaseError: of the user's own",
    "cancelled": "CancelledError",
    "generator": "GeneratorExit",
    "textless": "_TextlessError: (it has no text: its __str__ raises)",
    "huge": f"ValueError: {'x' * 300}... (10000000 characters)",
    "recursion": "RecursionError: maximum recursion depth exceeded",
    "memory": "MemoryError",
    "iteration": "StopIteration",
    "end of file": "EOFError: the user's file is short",
    "not UTF-8": r"RuntimeError: caf\udce9",
}


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """(exit code, standard error) of `longtail WORDS`, in this process."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["longtail", *map(str, words)])
    former = signal.signal(signal.SIGINT, interrupt)
    try:
        return exit_code_of(app), without_progress(capsys.readouterr().err)
    finally:
        signal.signal(signal.SIGINT, former)


def users_file() -> str:
    """The user's module, as tracebacks name it."""
    return str(importlib.import_module("user_code").__file__)


def campaign_file(folder: Path, **parts: object) -> Path:
    path = folder / "campaign.yaml"
    path.write_text(dump_campaign(small_campaign(subsets={"ratios": [0.5], "repetitions": 1}, **parts)))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("kind", ENDINGS)
def test_whatever_a_shard_raises_is_that_shards_error(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = campaign_file(tmp_path, model={"name": "user_code:ending_model", "options": {"kind": kind}})
    code, error = call(monkeypatch, capsys, "run", path, "--store", tmp_path / "s")
    assert code == 1
    assert f"failed: r500000-000000-000001: {ENDINGS[kind]} (traceback: " in error
    failure = json.loads((tmp_path / "s" / "failures" / "r500000-000000-000001.json").read_text())
    assert failure["attempts"] == 2
    assert "in _end" in failure["traceback"]
    assert "workers/training" not in failure["traceback"]
    assert len(failure["traceback"]) < 60_000


@pytest.mark.slow
@pytest.mark.parametrize("part", ["data", "model"])
@pytest.mark.parametrize("command", ["plan", "run"])
def test_what_would_end_the_command_is_a_line(
    command: str, part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"user_code:ending_{part}"
    for kind in ("exit", "interrupt", "base", "cancelled"):
        options = {"kind": kind} | ({"when": "build"} if part == "model" else {})
        section = {"data": "dataset"}.get(part, part)
        path = campaign_file(tmp_path, **{section: {"name": name, "options": options}})
        code, error = call(monkeypatch, capsys, command, path, "--store", tmp_path / "s")
        assert code == 1
        (line,) = error.splitlines()
        assert line.startswith(f"error: {name}: {ENDINGS[kind]} ({users_file()}, line ")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("kind", ["end of file", "huge", "recursion", "textless", "not UTF-8"])
def test_a_traceback_has_the_users_frames_alone(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = campaign_file(tmp_path, model={"name": "user_code:ending_model", "options": {"kind": kind, "when": "build"}})
    code, error = call(monkeypatch, capsys, "plan", path)
    assert code == 1
    lines = error.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].startswith(f'  File "{users_file()}", line ')
    assert lines[1].endswith(", in ending_model")
    assert all("user_code.py" in line for line in lines if line.startswith('  File "/'))
    assert lines[-1] == "(LONGTAIL_TRACEBACK=full in the environment shows every frame)"
    assert len(error) < 60_000


def test_a_traceback_keeps_torchs_last_frame_and_can_be_had_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from tests.user_code import dropout_model
    from workers.models import check_output

    model = dropout_model((4,), 2, width=3)
    with pytest.raises(RuntimeError) as caught:
        check_output(model, (5,), 2)
    files = [line.split('"')[1] for line in format_traceback(caught.value).splitlines() if line.startswith("  File")]
    assert files[-1].startswith(str(Path(torch.__file__).parent))
    assert sum("site-packages" in file for file in files) == 1
    monkeypatch.setenv("LONGTAIL_TRACEBACK", "full")
    assert format_traceback(caught.value).count("site-packages") > 5


def test_a_signal_is_an_interruption_whatever_the_users_code_makes_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def handler(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    former = signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises(KeyboardInterrupt), user_code("mine"):
            try:
                signal.raise_signal(signal.SIGINT)
            except BaseException as error:
                raise RuntimeError("the user's own answer") from error
        with pytest.raises(UserCodeError, match="mine: KeyboardInterrupt"), user_code("mine"):
            raise KeyboardInterrupt
    finally:
        signal.signal(signal.SIGINT, former)
    with pytest.raises(KeyboardInterrupt), user_code("mine"):  # the handler of notebooks leaves no frame
        raise KeyboardInterrupt


HOLDING = {
    "threads that are no daemons (mine)": "threading.Thread(target=time.sleep, args=(600,), name='mine').start()",
    "exit handlers": "atexit.register(time.sleep, 600)",
    "child processes": "multiprocessing.get_context('fork').Process(target=time.sleep, args=(600,)).start()",
}


@pytest.mark.slow
@pytest.mark.parametrize("what", HOLDING)
def test_nothing_holds_up_the_end(what: str) -> None:
    """The exit code is the command's, and all output is there."""
    script = (
        "import atexit, multiprocessing, threading, time\n"
        "from orchestrator.cli.process_exit import exit_process\n"
        f"{HOLDING[what]}\nprint('done', end='')\nexit_process(3)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False, timeout=120
    )
    assert (done.returncode, done.stdout) == (3, "done")
    assert done.stderr.startswith(f"note: {what}")
    assert done.stderr.endswith("did not end with the work; the process ends without\n")


def test_a_view_says_how_long_nothing_is_new() -> None:
    clock = iter([0.0, 10.0, 20.0, 60.0, 145.0, 200.0, 900.0, 1800.0])
    rate = Rate(lambda: next(clock))
    rate.update(CampaignProgress(total=2, before=0, workers=1))  # since 10 s
    assert rate.stall_text() == ""
    assert rate.stall_text() == "nothing new for 0:02:15"
    rate.update(CampaignProgress(total=2, before=0, trained=2, workers=1))
    assert rate.stall_text() == "", "all is done"


def test_the_umask_comes_back() -> None:
    before = os.umask(0o022)
    try:
        with user_code("mine"):
            os.umask(0o777)
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)


def test_the_standard_streams_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = io.StringIO()
    monkeypatch.setattr(sys, "stdout", before)
    with user_code("mine"):
        sys.stdout = io.StringIO()
    assert sys.stdout is before
    with pytest.raises(UserCodeError, match="^mine: closes sys.stdout, which the command prints to"), user_code("mine"):
        sys.stdout.close()
    with user_code("mine"):  # closed before
        pass


@pytest.mark.parametrize("change", ["sys.path.clear()", "sys.path = [sys.path[0], '/added']", "del sys.path"])
def test_a_module_that_clears_the_search_path_is_the_users_own(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not taken for an installed package; and Longtail's own later imports still work."""
    (tmp_path / "clearing.py").write_text(f"import sys\n{change}\ndef build(): {change}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "clearing", raising=False)
    search_path, before = sys.path, list(sys.path)
    added = ["/added"] if "added" in change else []
    try:
        build = load_function("clearing:build", CampaignError)
        with user_code("mine"):
            build()
        assert sys.path is search_path
        assert sorted(sys.path) == sorted(before + added)
    finally:
        sys.path = search_path
        sys.path[:] = before
