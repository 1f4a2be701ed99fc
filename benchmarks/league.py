"""The league of cheap scores on digits and on the first images of MNIST: trains a campaign and prints the table.

    python -m benchmarks.league digits FOLDER
    python -m benchmarks.league mnist FOLDER --mnist-root DATA --examples 4000 --runs 100

Recorded are presentations, their probabilities, training statistics, and the losses of all examples, which the
vulnerability needs. FOLDER keeps the store; run again to resume. `--label-noise` replaces a share of the labels.
"""

import argparse
from pathlib import Path
from typing import Any

import longtail
from benchmarks.first_examples import write_first_examples
from workers.campaign.dataset_spec import DatasetSpec
from workers.campaign.yaml_io import check_campaign
from workers.datasets import load_dataset

RECIPES: dict[str, dict[str, Any]] = {
    "digits": {
        "model": {"name": "mlp", "hidden": [32]},
        "recipe": {
            "epochs": 20,
            "batch_size": 64,
            "optimizer": {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9},
        },
    },
    "mnist": {
        "model": {"name": "mlp", "hidden": [64]},
        "recipe": {
            "epochs": 15,
            "batch_size": 64,
            "optimizer": {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9},
        },
    },
}
RECORD = {"presentations": True, "probabilities": True, "training_statistics": True, "outputs": ["loss"]}


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=RECIPES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mnist-root", type=Path)
    parser.add_argument("--examples", type=int, default=4000, help="training images of MNIST")
    parser.add_argument("--runs", type=int, default=200, help="at each of the ratios 0.3, 0.5 and 0.7")
    parser.add_argument("--label-noise", type=float, default=0.0)
    args = parser.parse_args()
    dataset: dict[str, Any] = {"name": "digits"}
    if args.data == "mnist":
        if args.mnist_root is None:
            parser.error("mnist needs --mnist-root")
        dataset = _first_images(args.mnist_root, args.examples, args.folder)
    document = {
        **RECIPES[args.data],
        "dataset": dataset,
        "subsets": {"ratios": [0.3, 0.5, 0.7], "repetitions": args.runs, "seed": 2},
        "record": RECORD,
    }
    if args.label_noise:
        document["label_noise"] = {"fraction": args.label_noise}
    store = args.folder / "store"
    longtail.run_campaign(check_campaign(document, "league"), store, runner="local")
    view = longtail.open_store(store)
    columns = ["truth", "score", "spearman", "low", "high", "reliability"]
    columns += ["corrected", "corrected_low", "corrected_high"]
    print(view.league()[columns].round(3).to_string(index=False))
    if args.label_noise:
        noise = view.noise(ratio=0.7)[["score", "auc", "low", "high", "average_precision", "precision_at_noisy"]]
        print(noise.sort_values("average_precision", ascending=False).round(4).to_string(index=False))


def _first_images(root: Path, examples: int, folder: Path) -> dict[str, Any]:
    """The `dataset` part of a campaign that reads the first images, a sixth as many for the test."""
    images = load_dataset(_spec(root))
    part = write_first_examples(images, (examples, examples // 6), folder)
    return {"name": part["name"], **{split: str(folder / part[split]) for split in ("train", "test")}}


def _spec(root: Path) -> DatasetSpec:
    document = {
        "dataset": {"name": "mnist", "root": str(root)},
        **RECIPES["mnist"],
        "subsets": {"ratios": [0.5], "repetitions": 1},
    }
    return check_campaign(document, "mnist").dataset


if __name__ == "__main__":
    main()
