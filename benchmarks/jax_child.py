"""Runs the unchanged C-score script for MNIST (mnist.py of pluskid/structural-regularity); needs jax and NumPy only.

    PYTHON_WITH_JAX jax_child.py --script mnist.py --mnist-root DIR --out FILE RATIO:SEED ...

The script is the user's own copy. Before it is imported, stand-ins take the place of modules that it asks for:
`tensorflow_datasets`, which would download other files; matplotlib and tqdm where they are not installed; `jax.config`,
which newer JAX no longer has as a module. Nothing of Longtail is imported: this runs in JAX's own environment.
"""

import argparse
import gzip
import importlib.util
import json
import struct
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

_SPLITS = {"train": "train", "test": "t10k"}


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """An IDX file of bytes, packed as `path`.gz or not. Raises OSError, or ValueError where it is no such file."""
    packed = path.with_name(f"{path.name}.gz")
    content = path.read_bytes() if path.is_file() else gzip.decompress(packed.read_bytes())
    if content[:3] != b"\0\0\x08":
        raise ValueError(f"{path}: is not an IDX file of bytes")
    dimensions = content[3]
    shape = struct.unpack(f">{dimensions}I", content[4 : 4 + 4 * dimensions])
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def load_mnist(root: Path) -> dict[str, dict[str, npt.NDArray[Any]]]:
    """As tensorflow_datasets has it: by split `image` uint8[., 28, 28, 1] and `label` int64[.], in the files' order."""
    raw = root / "MNIST" / "raw"
    return {
        split: {
            "image": read_idx(raw / f"{name}-images-idx3-ubyte")[..., None],
            "label": read_idx(raw / f"{name}-labels-idx1-ubyte").astype(np.int64),
        }
        for split, name in _SPLITS.items()
    }


def stand_ins(mnist_root: Path) -> dict[str, ModuleType]:
    """The modules to put into sys.modules before the script is imported."""
    arrays = load_mnist(mnist_root)
    modules = {"tensorflow_datasets": _module("tensorflow_datasets", load=lambda **_: arrays, as_numpy=lambda x: x)}
    if importlib.util.find_spec("tqdm") is None:
        modules["tqdm"] = _module("tqdm", tqdm=lambda iterable, **_: iterable)
    if importlib.util.find_spec("matplotlib") is None:
        pyplot = _module("matplotlib.pyplot")
        modules |= {"matplotlib": _module("matplotlib", pyplot=pyplot), "matplotlib.pyplot": pyplot}
    if importlib.util.find_spec("jax") is not None and importlib.util.find_spec("jax.config") is None:
        modules["jax.config"] = _module("jax.config", config=importlib.import_module("jax").config)
    return modules


def _module(name: str, **attributes: object) -> ModuleType:
    module = ModuleType(name)
    for attribute, value in attributes.items():
        setattr(module, attribute, value)
    return module


def import_script(path: Path, mnist_root: Path) -> ModuleType:
    """The script as a module; it loads its data when it is imported."""
    sys.modules.update(stand_ins(mnist_root))
    spec = importlib.util.spec_from_file_location("peer_mnist", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path}: is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def train(script: ModuleType, ratio: float, seed: int) -> dict[str, float | None]:
    """Call the script's `subset_train`: seconds, and accuracy outside the subset (None at ratio 1) and inside."""
    started = time.perf_counter()
    mask, correct = script.subset_train(seed, ratio)
    seconds = time.perf_counter() - started
    return {
        "ratio": ratio,
        "seed": seed,
        "seconds": seconds,
        "held_out_accuracy": None if mask.all() else float(correct[~mask].mean()),
        "subset_accuracy": float(correct[mask].mean()),
    }


def main() -> None:
    """Train the models requested, one after the other, and write a JSON document."""
    parser = argparse.ArgumentParser(description="The C-score script of pluskid/structural-regularity, timed.")
    parser.add_argument("--script", type=Path, required=True)
    parser.add_argument("--mnist-root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("jobs", nargs="+", help="RATIO:SEED")
    args = parser.parse_args()
    jobs = [(float(ratio), int(seed)) for ratio, seed in (job.split(":") for job in args.jobs)]
    started = time.perf_counter()
    jax = importlib.import_module("jax")
    script = import_script(args.script, args.mnist_root)
    # One model that is not counted: JAX compiles single operations at their first use in a process.
    script.subset_train(0, min(ratio for ratio, _ in jobs))
    startup = time.perf_counter() - started
    document = {"jax": jax.__version__, "backend": jax.default_backend(), "startup_seconds": startup}
    document["runs"] = [train(script, ratio, seed) for ratio, seed in jobs]
    args.out.write_text(json.dumps(document), encoding="utf-8")


if __name__ == "__main__":
    main()
