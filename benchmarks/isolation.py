"""Runs commands that start Ray in separate namespaces, and finds and ends their processes.

Ray listens on every interface, whatever it is told; in a network namespace there is only loopback. In a process
namespace nothing of Ray outlives the command. Where namespaces are not permitted, commands run as they are.
"""

import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_UNSHARE = ["unshare", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]
_LOOPBACK_UP = (
    "import fcntl, os, socket, struct, sys\n"
    "with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:\n"
    "    fcntl.ioctl(s, 0x8914, struct.pack('16sh', b'lo', 0x41))\n"  # SIOCSIFFLAGS: IFF_UP | IFF_RUNNING
    "os.execv(sys.argv[1], sys.argv[1:])"
)


@functools.cache
def permitted() -> bool:
    """May this user make namespaces."""
    if shutil.which("unshare") is None:
        return False
    probe = [*_UNSHARE, sys.executable, "-c", _LOOPBACK_UP, sys.executable, "-c", ""]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def isolated(command: list[str]) -> list[str]:
    """The command, in namespaces of its own where that is permitted. Its first word must be an absolute path."""
    return [*_UNSHARE, sys.executable, "-c", _LOOPBACK_UP, *command] if permitted() else command


def longtail(*words: object) -> list[str]:
    """The `longtail` command with the test suite's own modules importable."""
    script = "import sys; sys.argv[0] = 'longtail'; from orchestrator.cli.app import main; main()"
    return [sys.executable, "-c", script, *(str(word) for word in words)]


def start(command: list[str], home: Path, folder: Path = ROOT) -> subprocess.Popen[str]:
    """Start an isolated command, with Ray's token and everything else of the user's home under `home`."""
    environment = {**os.environ, "HOME": str(home), "COLUMNS": "200"}
    environment.pop("RAY_AUTH_MODE", None)
    return subprocess.Popen(
        isolated(command), cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process: subprocess.Popen[str], seconds: float = 600) -> tuple[int, str]:
    """(exit code, all output)."""
    try:
        output, _ = process.communicate(timeout=seconds)
    finally:
        process.kill()
    return process.returncode, output


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[Any], seconds: float = 400) -> bool:
    """Look again and again until the condition holds (True) or the process has ended (False)."""
    deadline = time.monotonic() + seconds
    while process.poll() is None:
        if condition():
            return True
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing happened in {seconds} s")
        time.sleep(0.002)
    return False


def descendants(root: int) -> Iterator[tuple[int, str]]:
    """(process id, command line) of everything that a process started."""
    children: dict[int, list[int]] = {}
    titles: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            titles[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        children.setdefault(parent, []).append(int(entry.name))
    waiting = [root]
    while waiting:
        for child in children.get(waiting.pop(), []):
            waiting.append(child)
            yield child, titles[child]


def driver_of(process: subprocess.Popen[str]) -> int:
    """The process id of the command itself, inside its namespaces."""
    if not permitted():
        return process.pid
    return next((pid for pid, title in descendants(process.pid) if "orchestrator.cli.app" in title), process.pid)


def actors_of(process: subprocess.Popen[str]) -> list[int]:
    """The process ids of a campaign's Ray workers."""
    return [pid for pid, title in descendants(process.pid) if title.startswith("ray::WorkerActor")]


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Signal a process that may just have ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)
