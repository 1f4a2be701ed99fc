"""Learning dynamics on real data: forgetting, proxies of the C-score, noisy labels, removal curves.

    python -m benchmarks.learning forgetting proxies noise removal --root FOLDER_WITH_MNIST --stores FOLDER --workers 2

Each campaign has a store of its own in FOLDER; what is there already is not trained again. With workers it runs on Ray.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import analysis
from analysis.learning.forgetting import count_forgetting
from analysis.reading.sequences import scan_sequences
from orchestrator import RunOptions, estimate_densities, run_campaign
from orchestrator.frame_files import write_frame
from orchestrator.presets import preset_text
from workers.campaign.yaml_io import check_campaign, parse_campaign
from workers.store import Store

ALL_OF_IT = {"epochs": "final", "presentations": True, "probabilities": True}
COSINE = {"schedule": {"name": "cosine"}}
NINE = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
FORGETTING_EPOCHS, FORGETTING_SEEDS = 20, 6
PREFIXES = (2, 5, 10, 20)


class Stores:
    """The campaigns' stores, trained where they are not there."""

    def __init__(self, folder: Path, root: Path, workers: int | None) -> None:
        self.folder = folder
        self._root = str(root)
        self._options = RunOptions(runner="local") if workers is None else RunOptions(runner="ray", workers=workers)

    def of(self, name: str, preset: str, **changes: Any) -> Store:
        """The store of a preset's campaign with parts of it replaced (or, for the recipe, changed)."""
        document = parse_campaign(preset_text(preset), preset).model_dump(mode="json")
        if document["dataset"]["name"] == "mnist":
            document["dataset"] |= {"root": self._root, "download": False}
        document["recipe"] |= changes.pop("recipe", {})
        run_campaign(check_campaign(document | changes, name), self.folder / name, self._options)
        return Store.open(self.folder / name)


def forgetting(stores: Stores) -> None:
    """The share of unforgettable examples, after so many epochs of the same runs."""
    store = stores.of(
        "forget",
        "mnist-forgetting",
        recipe={"epochs": FORGETTING_EPOCHS},
        subsets={"ratios": [1.0], "repetitions": FORGETTING_SEEDS},
    )
    masks_by_epochs: dict[int, list[np.ndarray]] = {epochs: [] for epochs in PREFIXES}
    for run in scan_sequences(store):
        for epochs, masks in masks_by_epochs.items():
            counted = count_forgetting(run.seen[:epochs], run.correct[:epochs], run.epochs[:epochs])
            masks.append(counted.unforgettable)
    for epochs, masks in masks_by_epochs.items():
        shares = [each.mean() for each in masks]
        five = np.logical_and.reduce(masks[:5]).mean()
        print(
            f"{epochs} epochs: unforgettable in one run {np.mean(shares):.2%} "
            f"± {np.std(shares, ddof=1) / np.sqrt(len(shares)):.2%} ({len(shares)} runs), in all of five {five:.2%}"
        )
    print(analysis.forgetting_agreement(store).to_string(index=False))


def proxies(stores: Stores) -> None:
    """Each proxy's rank correlation with the C-score of the same campaign."""
    store = _cscores(stores)
    if not (stores.folder / "cscore" / "estimates" / "density.parquet").exists():
        estimate_densities(store).write(store)
    print(analysis.open_store(store.uri).proxy_agreement().to_string(index=False))


def noise(stores: Stores) -> None:
    """How well each score finds labels that were replaced: by the published recipes, and by some that fit them all."""
    for kind, ratios, digits, mnist in (
        ("", [0.3, 0.5, 0.7], ({}, 200), ({}, 24)),
        ("-fitted", [0.5], ({"epochs": 200, **COSINE}, 200), ({"epochs": 60, **COSINE}, 24)),
    ):
        for name, preset, (recipe, repetitions) in (("digits", "digits", digits), ("noise", "mnist-cscore", mnist)):
            for share in (5, 20):
                store = stores.of(
                    f"{name}{share:02}{kind}",
                    preset,
                    recipe=recipe,
                    subsets={"ratios": ratios, "repetitions": repetitions, "seed": 1},
                    label_noise={"fraction": share / 100},
                    record=ALL_OF_IT,
                )
                view = analysis.open_store(store.uri)
                fitted = ", ".join(f"{each:.3f}" for each in view.summary()["subset_accuracy"])
                print(f"{store.uri}: {share}% noise; subset accuracy {fitted} at {ratios}")
                print(view.noise().to_string(index=False))


def removal(stores: Stores) -> None:
    """Test accuracy against the share removed, least forgotten first, at random, and most memorized first."""
    store = _cscores(stores)
    tables = {
        "forgettability": analysis.estimate_forgetting(store, 1.0),
        "mem": analysis.open_store(store.uri).memorization().groupby("example_id")[["mem"]].mean().reset_index(),
    }
    drops = {"forgettability": ["lowest", "random"], "mem": ["highest"]}
    frames = []
    for column, frame in tables.items():
        file = stores.folder / f"{column}.parquet"
        write_frame(frame.filter(["example_id", column]), file)
        subsets = {
            "design": "explicit",
            "ratios": [1.0, 0.9, 0.7, 0.5, 0.3, 0.1],
            "repetitions": 5 * len(drops[column]),
            "scores": {"file": str(file), "column": column},
            "drop": drops[column],
            "seed": 3,
        }
        trained = stores.of(f"removal-{column}", "mnist-cscore", subsets=subsets)
        frames.append(analysis.removal_curve(trained).assign(by=column))
    print(pd.concat(frames).to_string(index=False))


def _cscores(stores: Stores) -> Store:
    subsets = {"ratios": [*NINE, 1.0], "repetitions": 12}
    return stores.of("cscore", "mnist-cscore", subsets=subsets, record=ALL_OF_IT)


PARTS: dict[str, Callable[[Stores], None]] = {
    "forgetting": forgetting,
    "proxies": proxies,
    "noise": noise,
    "removal": removal,
}


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--stores", type=Path, required=True)
    parser.add_argument("--workers", type=int)
    args = parser.parse_args()
    stores = Stores(args.stores, args.root, args.workers)
    for part in args.parts:
        PARTS[part](stores)


if __name__ == "__main__":
    main()
