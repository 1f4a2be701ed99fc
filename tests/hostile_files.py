"""Hostile campaigns and stores, and the files that they name."""

import gzip
import io
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workers.campaign.campaign import Campaign
from workers.campaign.keys import Shard
from workers.store.header import Header
from workers.store.merge import encode_results

ESC = "\x1b]0;gone\x07"
CALLED = "called"
MINE = f"""
import pathlib, subprocess
from functools import partial
from os import system
from subprocess import run
from torch import load
from orchestrator.runners.ray.cluster import connect
part = partial(run, "id")
class Shell(subprocess.Popen): pass
def own(*given, **options): pathlib.Path({CALLED!r}).touch()
"""
NAMED = {
    "tests": ("benchmarks.isolation:start", {"command": ["/bin/sh", "-c", "id > called"], "home": "."}),
    "tests-by-folder": ("swift_server:start", {"command": ["/bin/sh", "-c", "id > called"], "home": "."}),
    "cluster": (
        "orchestrator.runners.ray.cluster:connect",
        {"address": "127.0.0.1:6379", "workers": 1, "working_dir": None},
    ),
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
    "attention": {"name": "vit", "patch_size": 1, "layers": 1, "heads": 128, "width": 128},
}
SUBSETS: dict[str, dict[str, Any]] = {
    "runs": {"ratios": [each / 1000 for each in range(1, 1001)], "repetitions": 1_000_000},
    "scores-zero": {"design": "explicit", "scores": {"file": "/dev/zero", "column": "a"}, "drop": ["lowest"]},
    "scores-sparse": {"design": "explicit", "scores": {"file": "sparse", "column": "a"}, "drop": ["lowest"]},
    "scores-rows": {"design": "explicit", "scores": {"file": "rows.parquet", "column": "label"}, "drop": ["lowest"]},
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
    "dictionary": {"name": "parquet", "train": "dictionary.parquet"},
    "pages": {"name": "parquet", "train": "pages.parquet"},
    "texts": {"name": "parquet", "train": "texts.parquet"},
    "lists": {"name": "parquet", "train": "lists.parquet"},
    "sparse": {"name": "parquet", "train": "sparse"},
    "idx": {"name": "mnist", "root": "idx", "download": False},
    "unpacked": {"name": "mnist", "root": "packed", "download": False},
    "escape": {"name": "image-folder", "root": ESC},
    "features-sparse": {"name": "features", "file": "sparse"},
    "features-pipe": {"name": "features", "file": "pipe"},
    "features-claims": {"name": "features", "file": "labels.npz"},
}
TEXTS = {
    "aliases": "a: &a [x, x]\nb: [*a, *a]\n",
    "nested": "[" * 60_000,
    "python": "x: !!python/object/apply:os.mkdir [called]\n",
    "escapes": f'{{"{ESC}": 1}}\n',
}
READERS: tuple[tuple[str, ...], ...] = (("status",), ("verify",), ("density", "-o", "{out}/d.csv"))
"""Every hostile store is read by these, and some by all the others."""
ALL_READERS: tuple[tuple[str, ...], ...] = (
    *(("status", "--watch", "--every", "0.1"), ("estimate",), ("influence",), ("datamodels",), ("profiles",)),
    *(("forgetting",), ("removal",), ("reliability",), ("suspects",), ("noise",), ("proxies",), ("audit",)),
    *(("compare", "{made}"), ("report", "-o", "{out}/r.html"), ("verify", "--repair"), ("compact",)),
)
READ_BY_ALL = ("own", "linked", "pipes")
LINKS: tuple[str, ...] = (
    "postscript",
    "bomb",
    "packed",
    "idx",
    "sparse",
    "rows.parquet",
    "dictionary.parquet",
    "pages.parquet",
)
LINKS += ("texts.parquet", "lists.parquet", "labels.npz")


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
    for number, (name, (path, options)) in enumerate(NAMED.items()):
        kind = "model" if number % 2 else "dataset"
        yield f"{kind}-{name}", json.dumps(campaign(**{kind: {"name": path, "options": options}}))
    for kind, found in (("model", MODELS), ("subsets", SUBSETS), ("dataset", DATA)):
        for name, part in found.items():
            yield name, json.dumps(campaign(**{kind: part}))
    batches = {"epochs": 1, "batch_size": 1_000_000}
    yield "batches", json.dumps(campaign(model={"name": "mlp", "hidden": [65_536, 8] * 8}, recipe=batches))
    yield from TEXTS.items()


def plant(folder: Path) -> None:
    """The files that campaigns name, each small."""
    (folder / "mine.py").write_text(MINE)
    os.mkfifo(folder / "pipe")
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
    small, large = png(9), png(9400)
    for name, contents in (("postscript", [postscript] * 2), ("bomb", [large, small])):
        for label, content in zip("ab", contents, strict=True):
            place = folder / name / "train" / label
            place.mkdir(parents=True)
            (place / "0.png").write_bytes(content)
            (place / "1.png").write_bytes(small)
    packed = gzip.compress(bytes(1 << 26), 1) * 16
    for split in ("train", "t10k"):
        for part, dimensions in (("images-idx3-ubyte", 3), ("labels-idx1-ubyte", 1)):
            for kind in ("packed", "idx"):
                (folder / kind / "MNIST" / "raw").mkdir(parents=True, exist_ok=True)
            (folder / "packed" / "MNIST" / "raw" / f"{split}-{part}.gz").write_bytes(packed)
            with (folder / "idx" / "MNIST" / "raw" / f"{split}-{part}").open("wb") as file:
                sizes = (500_000_000).to_bytes(4, "big") + b"\0\0\0\1" * (dimensions - 1)
                file.write(bytes([0, 0, 8, dimensions]) + sizes)
                file.truncate(file.tell() + 500_000_000)
    with (folder / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    column = np.zeros(20_000_000, np.int8)
    write(folder / "rows.parquet", image=repeated(b"x", len(column)), label=column)
    write(folder / "dictionary.parquet", image=repeated(bytes(20 << 20), 100_000), label=column[:100_000])
    write(folder / "texts.parquet", image=repeated(b"x", 100_000), label=repeated("x" * (1 << 20), 100_000))
    write(folder / "lists.parquet", image=[b"x"], label=pa.array([column]))
    schema, page = pa.schema([("image", pa.binary()), ("label", pa.int64())]), pa.array([bytes(40 << 20)])
    with pq.ParquetWriter(folder / "pages.parquet", schema, compression="zstd", use_dictionary=False) as writer:
        for _ in range(60):
            writer.write_table(pa.table({"image": page, "label": [0]}))
    experiment = folder / "experiment" / "0.5" / "0"
    experiment.mkdir(parents=True)
    for place in (experiment / "aux_arrays.npz", folder / "labels.npz"):
        with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
            arrays = ("train", "test", "subset_idx", "trainset_correctness", "testset_correctness", "train_features")
            for name in arrays:
                header = {"descr": "<i8", "fortran_order": False, "shape": (1 << 40,)}
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array_header_1_0(member, header)


def repeated(value: bytes | str, times: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(times, np.int8)), pa.array([value]))


def write(path: Path, **columns: Any) -> None:
    """As a few bytes that do not tell that a column was a dictionary."""
    options = {"compression": "zstd", "store_schema": False, "dictionary_pagesize_limit": 1 << 30}
    pq.write_table(pa.table(columns), path, **options)


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
        "own": {"dataset": {"name": "mine:own"}, "model": {"name": "mine:own"}},
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
                if file.parent.name != "results":
                    os.link(file, place / file.relative_to(made))
        changed = Campaign.model_validate_json(json.dumps({**whole["campaign"], **part}))
        fingerprint = "5" * 64 if "dataset" in part else whole["fingerprint"]
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
        rewritten = Header.from_json((place / "campaign.json").read_bytes(), name)
        for file in (made / "results").iterdir():  # the results say whose they are: here they say it of this campaign
            shard = Shard.parse(file.stem)
            assert shard is not None
            encoded, _ = encode_results(pq.read_table(file), shard, rewritten)
            (place / "results" / file.name).write_bytes(encoded)
        yield place
    yield from damaged_stores(folder, made)


def damaged_stores(folder: Path, made: Path) -> Iterator[Path]:
    """Copies whose files are links out of the store, pipes, devices, or claim too much."""
    for name in ("linked", "pipes", "numbers", "nested", "endless-results"):
        place = folder / "stores" / name
        shutil.copytree(made, place)
        results, header = place / "results", json.loads((place / "campaign.json").read_text())
        if name == "linked":
            for each in ("results", "estimates", "failures"):
                victim = folder / "victim" / each
                shutil.copytree(place / each, victim) if (place / each).is_dir() else victim.mkdir(parents=True)
                (victim / "r500000-000004-000008.parquet").write_bytes(b"PAR1" * 9)
                shutil.rmtree(place / each, ignore_errors=True)
                (place / each).symlink_to(victim)
        elif name == "pipes":
            os.mkfifo(results / "r500000-000004-000008.parquet")
            (place / "failures").mkdir(exist_ok=True)
            os.mkfifo(place / "failures" / "r500000-000004-000008.json")
        elif name == "numbers":
            header |= {"num_train": 1 << 24, "num_test": 1 << 24, "stack_size": 1_000_000, "shard_size": 1_000_000}
            (place / "campaign.json").write_text(json.dumps(header))
        elif name == "nested":
            (place / "campaign.json").write_text("[" * 1_000_000)
        else:
            for file in results.iterdir():
                file.unlink()
                file.symlink_to("/dev/zero")
        yield place
