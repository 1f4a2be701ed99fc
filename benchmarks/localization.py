"""Localization on the first images of MNIST or CIFAR-10 with 10% noise: every probe, three runs (docs/localization.md).

    python -m benchmarks.localization DATA STORE [--name mnist|cifar10] [--examples N] [--tests T] [--width W] ...

DATA is the folder that the campaign's data set reads (`MNIST/raw/`, or `train.parquet` and `test.parquet`). The first N
training and T test images are written as Parquet beside the store, with the campaign file; then the campaign is trained
and `longtail localize` prints its tables. With --memorization R multilayer perceptrons are trained on R random
subsets of the same examples, and the rank correlation of their memorization with the probes' values is printed as well.
A baseline (--keep) has no probes: its accuracies are printed alone.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from analysis.reading.examples import read_labels
from benchmarks.first_examples import write_first_examples
from orchestrator import run_campaign
from orchestrator.cli.app import app
from workers.campaign.dataset_spec import ParquetImages, TorchvisionData
from workers.campaign.yaml_io import check_campaign
from workers.datasets import load_dataset
from workers.store import Store

PROBES = ("gradients", "rewinding", "retraining", "neurons")


def main() -> None:
    """Make the data, train, print."""
    options = _options()
    options.store.mkdir(parents=True, exist_ok=True)
    dataset = load_dataset(_spec(options))
    write_first_examples(dataset, (options.examples, options.tests), options.store)
    store = _train(options, _campaign(options), "store")
    print(_accuracies(store).to_string(index=False), flush=True)
    scores = []
    if options.memorization:
        scores = ["--scores", str(_train(options, _memorization(options), "memorization"))]
    if options.keep is None:
        app(["localize", str(store), "--plot", str(options.store / "localization.png"), *scores])


def _train(options: argparse.Namespace, document: dict[str, Any], name: str) -> Path:
    """Train a campaign beside the data; returns its store."""
    folder: Path = options.store
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    campaign = check_campaign(document).with_absolute_paths(folder)
    report = run_campaign(campaign, folder / name, checkpoint_minutes=2, runner="local")
    seconds = _seconds(folder / name)
    print(f"{name}: {report.progress.total} runs, median seconds of each: {np.median(seconds):.1f}", flush=True)
    return folder / name


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("--name", choices=("mnist", "cifar10"), default="mnist")
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--tests", type=int, default=1000)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--neurons", type=int, default=60)
    parser.add_argument("--probes", nargs="+", choices=PROBES, default=PROBES)
    parser.add_argument("--dropout", nargs=2, type=float, metavar=("P_GEN", "P_MEM"), default=None)
    parser.add_argument("--keep", nargs=2, metavar=("KIND", "SHARE"), default=None)
    parser.add_argument("--memorization", type=int, metavar="R", default=0, help="runs at ratio 0.7; 0: none")
    return parser.parse_args()


def _spec(options: argparse.Namespace) -> TorchvisionData | ParquetImages:
    if options.name == "mnist":
        return TorchvisionData(name="mnist", root=str(options.data))
    train, test = (str(options.data / f"{split}.parquet") for split in ("train", "test"))
    return ParquetImages(name="parquet", train=train, test=test)


def _campaign(options: argparse.Namespace) -> dict[str, Any]:
    """The recipe of the authors' code at the rate of its figures, with this project's batch size for few examples."""
    model: dict[str, Any] = {"name": "resnet9", "width": options.width}
    probes: dict[str, Any] = {"repetitions": options.runs}
    if options.dropout is not None:
        p_gen, p_mem = options.dropout
        model["stage_dropout"] = {"name": "example-tied", "p_gen": p_gen, "p_mem": p_mem}
        probes["dropout"] = True
    elif options.keep is not None:
        kind, share = options.keep
        model["stage_dropout"] = {"name": kind, "keep": float(share)}
    else:
        of_name = {
            "gradients": True,
            "rewinding": {"every": 10},
            "retraining": {"epochs": 20},
            "neurons": {"examples": options.neurons, "batch_size": 128, "evaluated": 200},
        }
        probes |= {name: of_name[name] for name in options.probes}
    return {
        "dataset": {"name": "parquet", "train": "train.parquet", "test": "test.parquet"},
        "model": model,
        "recipe": {
            "epochs": options.epochs,
            "batch_size": 128,
            "optimizer": {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 5e-4},
            "schedule": {"name": "cosine", "warmup_epochs": options.epochs / 10},
        },
        "label_noise": {"fraction": 0.1},
        "subsets": {"ratios": [1.0], "repetitions": options.runs, "seed": 4},
        "record": {"epochs": "all", "presentations": True, "probabilities": True}
        | ({} if options.keep is not None else {"probes": probes}),
    }


def _memorization(options: argparse.Namespace) -> dict[str, Any]:
    """Networks without stage dropout that fit their subsets, on random subsets of the same examples, same noise."""
    document = _campaign(options)
    rate: dict[str, Any] = {
        "optimizer": {"name": "sgd", "learning_rate": 0.03, "momentum": 0.9},
        "schedule": {"name": "cosine"},
    }
    return document | {
        "model": {"name": "mlp"},
        "recipe": document["recipe"] | {"epochs": 50, "batch_size": 64} | rate,
        "subsets": document["subsets"] | {"ratios": [0.7], "repetitions": options.memorization},
        "record": {},
    }


def _accuracies(path: Path) -> pd.DataFrame:
    """Accuracy of the runs as recorded, by group: mean and standard error over runs."""
    store = Store.open(path)
    labels = read_labels(store)
    noisy = labels.label != labels.given_label
    rows = []
    for shard, table in store.scan(["is_final", "train_correct", "test_correct"]):
        final = table.filter(table["is_final"])
        train, test = (store.bits(shard, final, name) for name in ("train_correct", "test_correct"))
        rows.append(np.stack([train[:, ~noisy].mean(1), train[:, noisy].mean(1), test.mean(1)], axis=1))
    values = pd.DataFrame(np.concatenate(rows), columns=["clean", "noisy", "test"])
    return pd.DataFrame({"group": values.columns, "accuracy": values.mean().values, "se": values.sem().values})


def _seconds(store: Path) -> list[float]:
    scanned = Store.open(store).scan(["is_final", "seconds"])
    return [round(row["seconds"], 1) for _, table in scanned for row in table.to_pylist() if row["is_final"]]


if __name__ == "__main__":
    main()
