"""Trains the campaigns of a row, at full or reduced size, each into a store of its own, and counts their runs."""

import hashlib
import json
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

import analysis
from analysis.view.store_view import StoreView
from benchmarks.first_examples import write_first_examples
from benchmarks.replicate.rows import Row, SizeName, Verdict
from benchmarks.replicate.size import Size
from orchestrator import RunOptions, features, run_campaign, write_features
from orchestrator.frame_files import write_frame
from orchestrator.presets import preset_text
from workers.campaign.campaign import Campaign
from workers.campaign.yaml_io import check_campaign, parse_mapping
from workers.datasets import load_dataset
from workers.errors import DataError

TORCHVISION_FILES = {"mnist": "MNIST", "cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
"""What a data set's root holds; SVHN's files have no folder."""
PARTS = ("recipe", "subsets", "record")
"""Of a campaign: given changes are merged into them; all others are replaced."""


Record = dict[Hashable, Any]


def records(frame: pd.DataFrame) -> list[Record]:
    """A frame's rows."""
    return frame.to_dict("records")


@dataclass(frozen=True)
class Outcome:
    """What an experiment found: `value` in words with its error, `numbers` by name, `curves` as of a measurement."""

    value: str
    verdict: Verdict
    reason: str
    numbers: dict[str, float]
    curves: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass
class Lab:
    """Trains campaigns for one row. `data` holds the data sets, as a campaign's `dataset.root` does."""

    row: Row
    size_name: SizeName
    data: Path | None
    stores: Path
    options: RunOptions
    runs: int = 0
    devices: Counter[str] = field(default_factory=Counter)
    lossy: bool = False
    """Whether images of CIFAR-10 came from Parquet files (JPEG), as on the Hugging Face hub."""

    @property
    def size(self) -> Size:
        """That of the row's campaigns."""
        return self.row.full if self.size_name == "full" else self.row.reduced

    def train(self, **changes: Any) -> StoreView:
        """The store of the row's preset with changes, trained where it is not there already."""
        document = self._document()
        for part, change in changes.items():
            document[part] = (document.get(part) or {}) | change if part in PARTS else change
        if "design" in changes.get("subsets", {}):
            document["subsets"] = changes["subsets"]
        folder = self.stores / _name(document)
        run_campaign(check_campaign(document, self.row.id), folder, self.options)
        view = analysis.open_store(folder)
        trained = view.runs().drop_duplicates("run_id")
        self.runs += len(trained)
        self.devices.update(trained["device"])
        return view

    def features(self, view: StoreView, run: str) -> str:
        """The path of a run's features, computed where they are not there already."""
        path = self.stores / f"{Path(view.store.uri).name}-{run}.npz"
        if not path.exists():
            write_features(features(view.store, run), path)
        return str(path)

    def campaign(self) -> Campaign:
        """That of the row's preset, without changes."""
        return check_campaign(self._document(), self.row.id)

    def _document(self) -> dict[str, Any]:
        name = self._preset()
        document = self.size.of(parse_mapping(preset_text(name), name, "fields of a campaign"))
        document["dataset"] = self._dataset(document["dataset"]) | self.row.dataset
        return document

    def first(self, examples: int) -> "Lab":
        """The same of the first training examples alone; its runs are counted by itself."""
        field = "full" if self.size_name == "full" else "reduced"
        size = self.size.model_copy(update={"examples": examples, "tests": self.size.tests or examples})
        return replace(self, row=self.row.model_copy(update={field: size}), runs=0)

    def keep(self, frame: pd.DataFrame, name: str) -> str:
        """The path of a table of scores, for a campaign that removes examples by it."""
        path = self.stores / f"{self.row.id}-{self.size_name}-{name}.parquet"
        write_frame(frame, path)
        return str(path)

    def judged(self, value: str, holds: bool, claim: str, numbers: dict[str, float]) -> Outcome:
        """The outcome where a paper's statement, of sign or order, holds here or does not."""
        if not holds:
            return Outcome(value, "differs", f"it does not hold here that {claim}", numbers)
        return Outcome(value, "agrees" if self._as_published() else "agrees in kind", claim, numbers)

    def compared(self, value: float, se: float) -> tuple[Verdict, str]:
        """Beside the published number: within two standard errors and a tenth of it, at full size alone."""
        number = self.row.published.number
        if number is None:
            return "not comparable", "no number was published for it"
        if not self._as_published():
            return "not comparable", "other data or another size than published"
        near = abs(value - number) <= max(2 * se, 0.1 * abs(number))
        return ("agrees" if near else "differs"), f"published {number:g}, {value - number:+.4g} here"

    def _as_published(self) -> bool:
        return self.size_name == "full" and not self.lossy and not self.row.stand_in

    def _preset(self) -> str:
        if self.row.preset is None:
            raise ValueError(f"{self.row.id}: has no preset")
        return self.row.preset

    def _dataset(self, dataset: dict[str, Any]) -> dict[str, Any]:
        found = dataset if dataset["name"] == "digits" else self._found(dataset)
        if self.size.examples is None:
            return found
        counts = (self.size.examples, self.size.tests or -(-self.size.examples // 6))
        folder = self.stores / "data" / f"{dataset['name']}-{counts[0]}-{counts[1]}"
        if not (folder / "test.parquet").exists():
            spec = check_campaign({**_PLAIN, "dataset": found}, self.row.id).dataset
            write_first_examples(load_dataset(spec), counts, folder)
        resized = {} if self.size.image_size is None else {"size": self.size.image_size}
        return {
            "name": "parquet",
            **{split: str(folder / f"{split}.parquet") for split in ("train", "test")},
            **resized,
        }

    def _found(self, dataset: dict[str, Any]) -> dict[str, Any]:
        """The data set where it lies in `data`. Raises DataError without `data`."""
        name = dataset["name"]
        if self.data is None:
            raise DataError(f"{self.row.id}: needs {name}: give the folder of the data sets with --data")
        if name == "image-folder":
            return dataset | {"root": str(self.data / "imagenet")}
        parquet = {split: str(self.data / name / f"{split}.parquet") for split in ("train", "test")}
        if not (self.data / TORCHVISION_FILES.get(name, "")).exists() and Path(parquet["train"]).exists():
            self.lossy = True
            return {"name": "parquet", **parquet}
        return dataset | {"root": str(self.data), "download": False}


_PLAIN = {"recipe": {"epochs": 1, "batch_size": 1}, "subsets": {"ratios": [0.5], "repetitions": 1}}


def _name(document: dict[str, Any]) -> str:
    """Of a campaign's store, by the fields that are given, so that new fields with a default change no name.

    It is the same for any number of runs, since a store can be given more of them.
    """
    subsets = {name: value for name, value in document["subsets"].items() if name != "repetitions"}
    text = json.dumps(document | {"subsets": subsets}, sort_keys=True)
    data = document["dataset"]["name"]
    return f"{data}-{document['model']['name']}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
