"""airbench94.py of KellerJordan/cifar10-airbench, the user's own copy, unchanged; it needs a GPU.

The script trains many models and prints a table row per epoch. It is stopped when enough models are through.
"""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import IO

import numpy as np
import torch

from benchmarks.measure import Measurement, PeerError
from workers.datasets import Dataset

NAME = "airbench94"


@dataclass(frozen=True)
class AirbenchRun:
    """A model as the script reports it: accuracy with its test-time augmentation, seconds of training and that."""

    accuracy: float
    seconds: float


def prepare_data(dataset: Dataset, folder: Path) -> None:
    """Write CIFAR-10 where the script looks for what it would download: cifar10/train.pt and test.pt in `folder`."""
    target = folder / "cifar10"
    target.mkdir(parents=True)
    splits = {
        "train": (dataset.train_images, dataset.train_labels),
        "test": (dataset.test_images, dataset.test_labels),
    }
    for name, (images, labels) in splits.items():
        document = {
            "images": torch.from_numpy(np.array(images.transpose(0, 2, 3, 1), order="C")),
            "labels": torch.from_numpy(np.array(labels)),
            "classes": list(dataset.class_names),
        }
        torch.save(document, target / f"{name}.pt")


def parse_runs(lines: Iterable[str]) -> Iterator[AirbenchRun]:
    """The models in the script's table, as their last rows come in; the columns are named in its head."""
    columns: list[str] = []
    for line in lines:
        if not line.startswith("|"):
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if "tta_val_acc" in cells:
            columns = cells
            continue
        row = dict(zip(columns, cells, strict=False))
        if row.get("epoch") == "eval":
            seconds = row.get("total_time_seconds") or row["time_seconds"]
            yield AirbenchRun(float(row["tta_val_acc"]), float(seconds))


def stated_operations(script: Path) -> float | None:
    """Operations per model as the script's own head states them ("0.36 PFLOPs"); None where it does not."""
    match = re.search(r"([\d.]+) PFLOPs", script.read_text(encoding="utf-8")[:2000])
    return float(match[1]) * 1e15 if match else None


def measure_airbench(work: str, script: Path, dataset: Dataset, models: int) -> Measurement:
    """Time so many models, after a first one that is not counted: cuDNN tries its algorithms then. Raises PeerError."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="longtail-speed-") as name:
        folder = Path(name)
        prepare_data(dataset, folder)
        with (folder / "errors").open("w+", encoding="utf-8") as errors:
            runs = _run(script, folder, models + 1, errors)
    whole = time.perf_counter() - started
    counted = runs[1:]
    seconds = sum(run.seconds for run in counted)
    return Measurement(
        work=work,
        contestant=NAME,
        models=len(counted),
        seconds=seconds,
        startup_seconds=whole - seconds,
        accuracy=mean(run.accuracy for run in counted),
        accuracy_of="test",
        operations=stated_operations(script),
        precision="float16",
        details={"runs": [asdict(run) for run in runs], "whole_seconds": whole},
    )


def _run(script: Path, folder: Path, models: int, errors: IO[str]) -> list[AirbenchRun]:
    command = [sys.executable, "-u", str(script.absolute())]
    runs: list[AirbenchRun] = []
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
        if process.stdout is None:
            raise PeerError("its output cannot be read")
        try:
            for run in parse_runs(process.stdout):
                runs.append(run)
                if len(runs) == models:
                    break
        finally:
            process.terminate()
    if len(runs) < models:
        errors.seek(0)
        lines = errors.read().strip().splitlines() or ["no error message"]
        raise PeerError(f"the script ended after {len(runs)} of {models} models: {lines[-1]}")
    return runs
