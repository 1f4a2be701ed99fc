"""Runs Longtail's commands on hostile campaigns and stores in this process, and tells what they did: see test_hostile.

python -m tests.hostile FOLDER
"""

import gzip
import io
import json
import os
import resource
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from typer.testing import CliRunner

from orchestrator.cli import app
from workers.campaign import Campaign
from workers.errors import LongtailError

ESC = "\x1b]0;gone\x07"
CALLED = "called"
MINE = f"""
import pathlib, subprocess
from functools import partial
from os import system
from subprocess import run
from torch import load
from orchestrator.ray_cluster import connect
part = partial(run, "id")
class Shell(subprocess.Popen): pass
def own(*given, **options): pathlib.Path({CALLED!r}).touch()
"""
NAMED = {
    "tests": ("tests.isolation:start", {"command": ["/bin/sh", "-c", "id > called"], "home": "."}),
    "tests-by-folder": ("isolation:start", {"command": ["/bin/sh", "-c", "id > called"], "home": "."}),
    "cluster": ("orchestrator.ray_cluster:connect", {"address": "127.0.0.1:6379", "workers": 1, "working_dir": None}),
    "writer": ("workers.datasets.npy:write_npy", {"path": "called", "dtype": "u1", "shape": [1], "blocks": []}),
    "benchmarks": ("benchmarks.chaos.isolated:run_plan", {"plan": {}}),
    "system": ("os:system", {"command": "touch called"}),
    "posix": ("posix:system", {"command": "touch called"}),
    "run": ("subprocess:run", {"args": ["touch", "called"]}),
    "exec": ("builtins:exec", {}),
    "runpy": ("runpy:run_path", {"path_name": "mine.py"}),
    "pickle": ("numpy:load", {"file": "p.npy", "allow_pickle": True}),
    "torch": ("torch:load", {"f": "p.pt", "weights_only": False}),
    "hub": ("torch.hub:load", {"repo_or_dir": "evil/evil", "model": "x"}),
    "pytest": ("_pytest.config:main", {"args": ["."]}),
    "import": ("antigravity:webbrowser", {}),
    "again": ("mine:run", {"args": ["touch", "called"]}),
    "again-system": ("mine:system", {"command": "touch called"}),
    "again-torch": ("mine:load", {"f": "p.pt"}),
    "again-cluster": ("mine:connect", {"address": "127.0.0.1:6379"}),
    "part": ("mine:part", {}),
    "inherited": ("mine:Shell", {"args": ["touch", "called"]}),
}
"""What campaigns call for data or model."""
MODELS: dict[str, dict[str, Any]] = {
    "wide": {"name": "mlp", "hidden": [65_536, 65_536]},
    "deep": {"name": "mlp", "hidden": [65_536] * 100},
    "cnn": {"name": "small-cnn", "width": 65_536, "hidden": 65_536},
    "resnet": {"name": "resnet9", "width": 65_536},
    "vit": {"name": "vit", "width": 65_536, "heads": 1, "layers": 100},
}
SUBSETS: dict[str, dict[str, Any]] = {
    "runs": {"ratios": [each / 1000 for each in range(1, 1001)], "repetitions": 1_000_000},
    "scores-zero": {"design": "explicit", "scores": {"file": "/dev/zero", "column": "a"}, "drop": ["lowest"]},
    "scores-pipe": {"design": "explicit", "scores": {"file": "pipe", "column": "a"}, "drop": ["lowest"]},
}
DATA: dict[str, dict[str, Any]] = {
    "devices": {"name": "image-folder", "root": "/dev"},
    "processes": {"name": "image-folder", "root": "/proc"},
    "postscript": {"name": "image-folder", "root": "postscript"},
    "bomb": {"name": "image-folder", "root": "bomb", "size": 8},
    "endless": {"name": "parquet", "train": "/dev/zero"},
    "waiting": {"name": "parquet", "train": "pipe"},
    "memory": {"name": "parquet", "train": "/proc/self/mem"},
    "rows": {"name": "parquet", "train": "rows.parquet"},
    "unpacked": {"name": "mnist", "root": "packed", "download": False},
    "escape": {"name": "image-folder", "root": ESC},
}
TEXTS = {
    "aliases": "a: &a [x, x]\nb: [*a, *a]\n",
    "nested": "[" * 60_000,
    "python": "x: !!python/object/apply:os.mkdir [called]\n",
    "escapes": f'{{"{ESC}": 1}}\n',
}
READERS: tuple[tuple[str, ...], ...] = (
    ("status",),
    ("verify",),
    ("report", "-o", "{place}/r.html"),
    ("density", "-o", "{place}/d.csv"),
)
OTHER_READERS: tuple[tuple[str, ...], ...] = (
    *(("estimate",), ("influence",), ("datamodels",), ("profiles",), ("forgetting",), ("removal",)),
    *(("reliability",), ("suspects",), ("noise",), ("proxies",), ("compact",), ("compare", "{store}")),
)


def campaign(**parts: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "dataset": {"name": "digits"},
        "model": {"name": "mlp", "hidden": [4]},
        "recipe": {"epochs": 1, "batch_size": 512},
        "subsets": {"ratios": [0.5], "repetitions": 4},
    }
    subsets = {**whole["subsets"], **parts.pop("subsets", {})}
    return {**whole, **parts, "subsets": subsets}


def campaigns() -> Iterator[tuple[str, str]]:
    """(name, text of the file)."""
    for name, (path, options) in NAMED.items():
        yield f"data-{name}", json.dumps(campaign(dataset={"name": path, "options": options}))
        yield f"model-{name}", json.dumps(campaign(model={"name": path, "options": options}))
    for kind, found in (("model", MODELS), ("subsets", SUBSETS), ("dataset", DATA)):
        for name, part in found.items():
            yield name, json.dumps(campaign(**{kind: part}))
    yield from TEXTS.items()


def plant(folder: Path) -> None:
    """The files that campaigns name, each small."""
    (folder / "mine.py").write_text(MINE)
    os.mkfifo(folder / "pipe")
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
    for name, content in (("postscript", postscript), ("bomb", png(9400))):
        for label in ("a", "b"):
            place = folder / name / "train" / label
            place.mkdir(parents=True)
            for number in range(2):
                (place / f"{number}.png").write_bytes(content)
    raw = folder / "packed" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    bomb = gzip.compress(bytes(1 << 26), 1) * 16
    for split in ("train", "t10k"):
        for part in ("images-idx3-ubyte", "labels-idx1-ubyte"):
            (raw / f"{split}-{part}.gz").write_bytes(bomb)
    column = np.zeros(40_000_000, np.int8)
    images = pa.DictionaryArray.from_arrays(pa.array(column), [b"x"])
    pq.write_table(pa.table({"image": images, "label": column}), folder / "rows.parquet", compression="zstd")


def png(side: int) -> bytes:
    """A white RGBA image of so many pixels a side, in kilobytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    packer, packed = zlib.compressobj(1), io.BytesIO()
    row = b"\0" + b"\xff\xff\xff\x80" * side
    for _ in range(side):
        packed.write(packer.compress(row))
    packed.write(packer.flush())
    size = side.to_bytes(4, "big") * 2
    parts = [(b"IHDR", size + b"\x08\x06\0\0\0"), (b"IDAT", packed.getvalue()), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def stores(folder: Path, made: Path) -> Iterator[Path]:
    """Copies of a store, each with another campaign and the identity that goes with it; the data are in no cache."""
    whole = json.loads((made / "campaign.json").read_text())
    named = {name: {"dataset": {"name": path, "options": options}} for name, (path, options) in NAMED.items()}
    parts: dict[str, dict[str, Any]] = {
        **{name: named[name] for name in ("tests", "cluster", "system", "again", "hub")},
        "own": {"dataset": {"name": "mine:own"}},
        "own-model": {"model": {"name": "mine:own"}},
        "download": {"dataset": {"name": "mnist", "root": str(folder / "downloaded")}},
        **{name: {"dataset": DATA[name]} for name in ("endless", "waiting", "devices", "escape")},
        "wide": {"model": MODELS["wide"]},
    }
    for name, part in parts.items():
        place = folder / "stores" / name
        place.mkdir(parents=True)
        for file in made.rglob("*"):
            if file.is_file() and file.name != "campaign.json":
                (place / file.relative_to(made)).parent.mkdir(exist_ok=True)
                os.link(file, place / file.relative_to(made))
        changed = Campaign.model_validate_json(json.dumps({**whole["campaign"], **part}))
        fingerprint = whole["fingerprint"] if "model" in part else "5" * 64
        versions = {**whole["versions"], ESC: ESC}
        names = [f"{ESC}{each}" for each in whole["class_names"]]
        header = {
            **whole,
            "campaign": changed.model_dump(mode="json"),
            "fingerprint": fingerprint,
            "versions": versions,
        }
        header |= {"identity": changed.identity(fingerprint), "class_names": names}
        (place / "campaign.json").write_text(json.dumps(header))
        yield place


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
        elif (
            event == "open" and isinstance(given[0], str | bytes) and given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        ) or event in ("os.mkdir", "os.rename", "os.remove", "os.symlink", "os.link", "os.rmdir"):
            self._written(event, given[0])

    def _written(self, event: str, path: Any) -> None:
        place = os.path.abspath(os.fsdecode(path))  # noqa: PTH100
        if not place.startswith((*self.allowed, "/dev/null", "/dev/shm", "/tmp/torch")):  # noqa: S108
            self.seen.append(f"{event} {place}")


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
    return done.exit_code, f"{done.output}{text}", wrong


def main(folder: Path) -> None:
    """Prints the findings as JSON."""
    plant(folder)
    sys.path[:0] = [str(folder), str(Path(__file__).parent)]
    os.chdir(folder)
    (folder / "good.yaml").write_text(json.dumps(campaign()))
    made = folder / "made"
    code, output, wrong = call(["run", "good.yaml", "--store", str(made)])
    if code:
        raise RuntimeError(f"{output} {wrong}")
    hostile = list(stores(folder, made))
    watch = Watch(folder / "cache", folder / "out", folder / "stores")
    (folder / "out").mkdir()
    ended: dict[str, tuple[int, str, str]] = {}
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peaks: dict[str, int] = {}

    def carry_out(label: str, words: list[str]) -> None:
        watch.on = True
        print(label, file=sys.stderr, flush=True)
        ended[label] = call(words)
        watch.on = False
        peaks[label] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        watch.seen[:] = [each if each.startswith("[") else f"[{label}] {each}" for each in watch.seen]

    for name, text in campaigns():
        file = folder / "campaigns" / f"{name}.yaml"
        file.parent.mkdir(exist_ok=True)
        # Where campaigns lie decides what relative paths mean.
        file.write_text(text.replace('"pipe"', f'"{folder}/pipe"'))
        for each in ("postscript", "bomb", "rows.parquet", "packed"):
            target = file.parent / each
            if not target.exists():
                target.symlink_to(folder / each)
        carry_out(f"plan {name}", ["plan", str(file)])
        if ended[f"plan {name}"][0] != 0:
            carry_out(f"run {name}", ["run", str(file), "--store", str(folder / "out" / f"s-{name}")])
    for number, place in enumerate(hostile):
        for words in READERS + (OTHER_READERS if number < 2 else ()):
            filled = [each.format(place=folder / "out", store=made) for each in words[1:]]
            carry_out(f"{words[0]} {place.name}", [words[0], str(place), *filled])
    found = {"ended": ended, "seen": watch.seen, "base": base >> 10, "peaks": peaks}
    print(json.dumps({**found, "called": (folder / CALLED).exists(), "downloaded": (folder / "downloaded").exists()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
