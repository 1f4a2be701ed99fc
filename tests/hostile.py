"""Runs Longtail's commands on hostile campaigns and stores in this process, and tells what they did: see test_hostile.

python -m tests.hostile FOLDER
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from orchestrator.cli.app import app
from tests.hostile_files import (
    ALL_READERS,
    CALLED,
    LINKS,
    READ_BY_ALL,
    READERS,
    SUBSETS,
    campaign,
    campaigns,
    plant,
    stores,
)
from workers.errors import LongtailError


class Watch:
    """Notes what Python's audit hooks tell of processes, sockets, and files that are written outside of `allowed`."""

    def __init__(self, *allowed: Path) -> None:
        self.allowed = tuple(str(each) for each in allowed)
        self.seen: list[str] = []
        self.on = False
        sys.addaudithook(self)

    def __call__(self, event: str, given: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event in (
            "subprocess.Popen",
            "os.system",
            "os.exec",
            "os.posix_spawn",
            "os.fork",
            "os.forkpty",
            "pty.spawn",
        ):
            self.seen.append(f"{event} {given[:2]}")
        elif event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "webbrowser.open", "urllib.Request"):
            self.seen.append(f"{event} {given[1:]}")
        elif event == "open" and isinstance(given[0], str | bytes) and given[2] & _WRITING:
            self._written(event, given[0])
        elif event in _CHANGES:
            *positions, folder = _CHANGES[event]
            for position in positions:
                self._written(event, given[position], given[folder])

    def _written(self, event: str, path: Any, folder: int = -1) -> None:
        base = Path(f"/proc/self/fd/{folder}").resolve() if folder >= 0 else Path.cwd()
        place = base / os.fsdecode(path)
        real = str(place.parent.resolve() / place.name)
        if not real.startswith((*self.allowed, "/dev/null", "/dev/shm", "/tmp/torch")):  # noqa: S108
            self.seen.append(f"{event} {real}")


_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CHANGES = {
    "os.mkdir": (0, 2),
    "os.remove": (0, 1),
    "os.rmdir": (0, 1),
    "os.chmod": (0, 2),
    "os.rename": (0, 1, 3),
    "os.symlink": (1, 2),
    "os.link": (1, 3),
}
"""Positions, among what audit hooks get, of paths that change, and last of the folder that they are relative to."""


def files_in(folder: Path, *left_out: Path) -> dict[str, tuple[int, int]]:
    """Sizes and times of change of files; native code does not call audit hooks."""
    found = {}
    for path, _, names in os.walk(folder):
        if not path.startswith(tuple(map(str, left_out))):
            for each in (Path(path) / name for name in names):
                status = each.lstat()
                found[str(each)] = (status.st_size, status.st_mtime_ns)
    return found


def peak_megabytes() -> int:
    """Of this process alone. `ru_maxrss` begins at what the process that started it had."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) >> 10


def call(words: list[str]) -> tuple[int, str, str]:
    """(exit code, output, what is wrong with how it ended)."""
    done = CliRunner().invoke(app, words, catch_exceptions=True)
    error = done.exception
    text = str(error) if isinstance(error, LongtailError) else ""
    wrong = ""
    if isinstance(error, Exception) and not isinstance(error, LongtailError):
        wrong = f"{type(error).__name__}: {error}"
    elif text.count("\n") > 3 or len(text) > 2000:
        wrong = f"a message of {len(text)} characters"
    elif "\x1b" in done.output or "\x07" in done.output:
        wrong = "an escape sequence in the output"
    code = error.exit_code if isinstance(error, LongtailError) else done.exit_code
    return code, f"{done.output}{text}", wrong


def main(folder: Path) -> None:
    """Prints the findings as JSON."""
    plant(folder)
    sys.path[:0] = [str(folder), str(Path(__file__).parent)]
    os.chdir(folder)
    (folder / "good.yaml").write_text(json.dumps(campaign()))
    made, out = folder / "made", folder / "out"
    code, output, wrong = call(["run", "good.yaml", "--store", str(made)])
    if code:
        raise RuntimeError(f"{output} {wrong}")
    import matplotlib.font_manager  # noqa: F401 - asks fc-list for fonts where it has no cache

    tempfile.gettempdir()  # tries folders by writing into them, once

    hostile = list(stores(folder, made))
    out.mkdir()
    (folder / "campaigns").mkdir()
    for each in LINKS:
        (folder / "campaigns" / each).symlink_to(folder / each)
    for name, text in campaigns():
        # Where campaigns lie decides what relative paths mean.
        (folder / "campaigns" / f"{name}.yaml").write_text(text.replace('"pipe"', f'"{folder}/pipe"'))
    allowed = (folder / "cache", out, folder / "stores")
    before, watch = files_in(folder, *allowed), Watch(*allowed)
    ended: dict[str, tuple[int, str, str]] = {}
    peaks: dict[str, int] = {"base": peak_megabytes()}

    def carry_out(label: str, words: list[str]) -> int:
        watch.on = True
        started = time.monotonic()
        ended[label] = call(words)
        watch.on = False
        print(f"{label}: {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
        peaks[label] = peak_megabytes()
        watch.seen[:] = [each if each.startswith("[") else f"[{label}] {each}" for each in watch.seen]
        return ended[label][0]

    for number, (name, _) in enumerate(campaigns()):
        file = str(folder / "campaigns" / f"{name}.yaml")
        refused = carry_out(f"plan {name}", ["plan", file])
        if not refused or number % 3 == 0:
            carry_out(f"run {name}", ["run", file, "--store", str(out / f"s-{name}")])
        if refused and number % 6 == 0 and name not in SUBSETS:  # which a search does not look at
            carry_out(f"tune {name}", ["tune", file, "-o", str(out / f"{name}.tuned.yaml"), "--trials", "1"])
    for file in ("pipe", "sparse", "/dev/zero", "/proc/self/mem", str(folder)):
        carry_out(f"plan file:{file}", ["plan", file])
    carry_out("import npz", ["import", "heldout", "experiment", "--store", str(out / "i"), "--labels", "labels.npz"])
    for place in hostile:
        for words in READERS + (ALL_READERS if place.name in READ_BY_ALL else ()):
            filled = [word.format(out=out, made=made) for word in words[1:]]
            carry_out(f"{' '.join(words[:2])} {place.name}", [words[0], str(place), *filled])
    found: dict[str, Any] = {
        "ended": ended,
        "seen": watch.seen,
        "peaks": peaks,
        "stores": [each.name for each in hostile],
    }
    found |= {"called": (folder / CALLED).exists(), "downloaded": (folder / "downloaded").exists()}
    print(json.dumps({**found, "changed": sorted(dict(files_in(folder, *allowed).items() ^ before.items()))}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
