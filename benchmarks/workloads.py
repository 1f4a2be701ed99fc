"""Workloads: the campaign of each, and how many of its models the slower contestants train per repeat."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import Accuracy
from orchestrator.presets import preset_text
from workers.campaign.campaign import Campaign
from workers.campaign.yaml_io import check_campaign, parse_campaign
from workers.errors import CampaignError

NINE_RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Sizes:
    """What the command line changes about works; None: the work's own."""

    mnist_root: Path | None = None
    cifar_root: Path | None = None
    ratios: Sequence[float] | None = None
    repetitions: int | None = None
    peer_repetitions: int | None = None
    epochs: int | None = None
    precision: str | None = None


@dataclass(frozen=True)
class Workload:
    """A campaign to race with. `peer_repetitions` are those of contestants that train one model after the other."""

    name: str
    campaign: Campaign
    peer_repetitions: int
    accuracy: Accuracy

    @property
    def images(self) -> bool:
        """Convolutional networks on augmented images, for GPUs; else small networks that a CPU trains too."""
        return _KINDS[self.name].images

    def jobs(self, repetitions: int) -> list[tuple[float, int]]:
        """(ratio, repetition) of so many models at each ratio, the longest first."""
        ratios = sorted(self.campaign.subsets.ratios, reverse=True)
        return [(ratio, repetition) for repetition in range(repetitions) for ratio in ratios]


def make_workload(name: str, sizes: Sizes) -> Workload:
    """A work, with what the command line changes. Raises CampaignError; KeyError for a work that does not exist."""
    kind = _KINDS[name]
    document = kind.document(sizes)
    subsets, recipe = document["subsets"], document["recipe"]
    subsets["ratios"] = list(sizes.ratios or kind.ratios)
    subsets["repetitions"] = sizes.repetitions or kind.repetitions
    recipe["epochs"] = sizes.epochs or recipe["epochs"]
    if sizes.precision is not None:
        recipe["precision"] = sizes.precision
    held_out = max(subsets["ratios"]) < 1
    return Workload(
        name=name,
        campaign=check_campaign(document, name).with_absolute_paths(),
        peer_repetitions=sizes.peer_repetitions or kind.peer_repetitions,
        accuracy="held out" if held_out else "test",
    )


def unmeasurable_reason(name: str, sizes: Sizes, device: str, *, by_name: bool) -> str | None:
    """Why a work is not measured here: a path that was not given, a GPU that is missing; None: it can be.

    `by_name`: the user requested it by name, and so gets it without a GPU too.
    """
    if name == "mnist" and sizes.mnist_root is None:
        return "needs --mnist-root"
    if _KINDS[name].images and sizes.cifar_root is None:
        return "needs --cifar-root"
    if _KINDS[name].images and device != "cuda" and not by_name:
        return "takes hours without a GPU; name it to train it all the same"
    return None


def _digits(sizes: Sizes) -> dict[str, Any]:
    # Without presentations: no peer records them. What recording costs: benchmarks.recording.
    return {**_preset("digits"), "record": {}}


def _mnist(sizes: Sizes) -> dict[str, Any]:
    return {**_preset("mnist-cscore"), "dataset": {"name": "mnist", "root": str(sizes.mnist_root), "download": False}}


def _cifar10_fast(sizes: Sizes) -> dict[str, Any]:
    return {**_preset("cifar10-fast"), "dataset": _cifar10(sizes.cifar_root)}


def _resnet9(sizes: Sizes) -> dict[str, Any]:
    return {**_preset("cifar10-resnet9"), "dataset": _cifar10(sizes.cifar_root)}


def _resnet18(sizes: Sizes) -> dict[str, Any]:
    return {
        "dataset": _cifar10(sizes.cifar_root),
        "model": {"name": "resnet18"},
        "recipe": {
            "epochs": 5,
            "batch_size": 128,
            "drop_last": True,
            "optimizer": {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 5e-4},
            "schedule": {"name": "cosine"},
            "input_scaling": "standardize",
            "augmentation": {"flip": True, "translate": 4},
        },
        "subsets": {},
    }


def _preset(name: str) -> dict[str, Any]:
    return parse_campaign(preset_text(name)).model_dump(mode="json")


def _cifar10(root: Path | None) -> dict[str, Any]:
    """The data set at root: torchvision's files, or train.parquet and test.parquet. Raises CampaignError."""
    if root is None:
        raise CampaignError("--cifar-root: is needed for this work")
    if (root / "cifar-10-batches-py").is_dir():
        return {"name": "cifar10", "root": str(root), "download": False}
    splits = {split: root / f"{split}.parquet" for split in ("train", "test")}
    if all(path.is_file() for path in splits.values()):
        return {"name": "parquet", **{split: str(path) for split, path in splits.items()}}
    raise CampaignError(f"--cifar-root: must hold cifar-10-batches-py/, or train.parquet and test.parquet, got {root}")


@dataclass(frozen=True)
class _Kind:
    document: Callable[[Sizes], dict[str, Any]]
    ratios: tuple[float, ...]
    repetitions: int
    peer_repetitions: int
    images: bool


_KINDS = {
    "digits": _Kind(_digits, (0.7,), repetitions=200, peer_repetitions=40, images=False),
    "mnist": _Kind(_mnist, NINE_RATIOS, repetitions=4, peer_repetitions=1, images=False),
    "cifar10": _Kind(_cifar10_fast, (1.0,), repetitions=8, peer_repetitions=1, images=True),
    "resnet9": _Kind(_resnet9, (1.0,), repetitions=4, peer_repetitions=1, images=True),
    "resnet18": _Kind(_resnet18, (1.0,), repetitions=2, peer_repetitions=1, images=True),
}

NAMES = tuple(_KINDS)
