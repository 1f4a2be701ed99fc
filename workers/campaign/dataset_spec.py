"""Data sets as a campaign names them: one class per kind, selected by `name`."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue, Tag

from workers.campaign.field_types import LOCATION, PATH, ColumnName, Frozen, ImportPath, PathText, Sha256, Size, by_name

TORCHVISION_DATASETS = ("mnist", "fashion-mnist", "kmnist", "cifar10", "svhn")


class ImageData(Frozen):
    """What data sets of images can have."""

    permute_pixels: Annotated[int | None, Field(ge=0, lt=2**63)] = None
    """A seed: the pixels of all training and test images are permuted in the same order (permuted MNIST)."""


class Digits(ImageData):
    """scikit-learn's handwritten digits, 8 x 8 pixels: 1,437 training and 360 test examples (every fifth image)."""

    name: Literal["digits"] = "digits"


class TorchvisionData(ImageData):
    """A data set that torchvision reads, in the order of its original files."""

    name: Literal["mnist", "fashion-mnist", "kmnist", "cifar10", "svhn"]
    root: Annotated[PathText, Field(json_schema_extra=PATH)] = "data"
    """The folder that torchvision calls root."""
    download: Annotated[bool, Field(json_schema_extra=LOCATION)] = False
    """Download the files where they are missing, when models are trained."""


class EMNIST(TorchvisionData):
    """Extended MNIST: handwritten letters and digits, images upright, labels from 0."""

    name: Literal["emnist"]  # type: ignore[assignment]
    split: Literal["balanced", "byclass", "bymerge", "letters", "digits", "mnist"] = "balanced"


class CIFAR100(TorchvisionData):
    """CIFAR-100, by its 100 classes or by the 20 superclasses that the same files have."""

    name: Literal["cifar100"]  # type: ignore[assignment]
    coarse: bool = False


class ImageOptions(ImageData):
    """How image files become arrays of one shape."""

    size: Size | None = None
    """Resize to size x size pixels (bilinear); left out: all images must have one size already."""
    channels: Literal["auto", "grey", "rgb"] = "auto"
    """`auto`: grey when every image is grey, else RGB."""
    orientation: Literal["ignore", "exif"] = "ignore"
    """`exif`: turn images as their EXIF orientation tells, as the Hugging Face hub's `datasets` does."""


class ImageFolder(ImageOptions):
    """`root/train/<class>/**` and `root/test/<class>/**` (or `val`); classes and files in sorted order."""

    name: Literal["image-folder"]
    root: Annotated[PathText, Field(json_schema_extra=PATH)]


class ParquetImages(ImageOptions):
    """Parquet files with an image column (`{bytes, path}` as on the Hugging Face hub, or bytes) and a label column."""

    name: Literal["parquet"]
    train: Annotated[PathText, Field(json_schema_extra=PATH)]
    """A file, a folder whose `*.parquet` files are read in sorted order, or a pattern: `data/train-*.parquet`."""
    test: Annotated[PathText | None, Field(json_schema_extra=PATH)] = None
    image_column: ColumnName = "image"
    label_column: ColumnName = "label"
    name_column: Annotated[ColumnName | None, Field(json_schema_extra=LOCATION)] = None
    """Names of the examples, texts or numbers; left out: the `path` that the hub's images have, if it is kept."""


def _run_id(text: str) -> str:
    if not re.fullmatch(r"r\d{6,7}-\d{6,7}", text, re.ASCII):
        raise ValueError(f"must be a run_id such as r700000-000012, got {text[:80]!r}")
    return text


class Encoder(Frozen):
    """The run whose model computed features, and the training examples that it has seen."""

    identity: Sha256
    """Of the campaign and the data of the run's store."""
    run: Annotated[str, AfterValidator(_run_id)]
    """Its run_id."""
    examples: Sha256
    """The fingerprint of the data set whose examples have the features."""
    seen_sha256: Sha256
    """Of bool[N] as bytes: which training examples the encoder was trained on."""

    def text(self, seen: int, num_train: int) -> str:
        """What memorization of a campaign on these features means, in one line."""
        counted = f"all {num_train:,} examples" if seen == num_train else f"{seen:,} of {num_train:,} examples"
        by = f"run {self.run} of campaign {self.identity[:12]}"
        return f"memorization here is of the head alone: the encoder ({by}) saw {counted}"


class FeatureData(Frozen):
    """Features of a run's model that `longtail features` wrote, for models that replace its last layer."""

    name: Literal["features"]
    file: Annotated[PathText, Field(json_schema_extra=PATH)]
    encoder: Encoder | None = None
    """Read from the file when the campaign starts, or given, so that features of another run are refused."""


class CustomData(Frozen):
    """`package.module:function`, called with `options`, returns a `workers.datasets.Dataset`."""

    name: ImportPath
    options: dict[str, JsonValue] = Field(default_factory=dict)


DATASET_NAMES = {
    "digits": "digits",
    **dict.fromkeys(TORCHVISION_DATASETS, "torchvision"),
    "emnist": "emnist",
    "cifar100": "cifar100",
    "image-folder": "image-folder",
    "parquet": "parquet",
    "features": "features",
}


DatasetSpec = Annotated[
    Annotated[Digits, Tag("digits")]
    | Annotated[TorchvisionData, Tag("torchvision")]
    | Annotated[EMNIST, Tag("emnist")]
    | Annotated[CIFAR100, Tag("cifar100")]
    | Annotated[ImageFolder, Tag("image-folder")]
    | Annotated[ParquetImages, Tag("parquet")]
    | Annotated[FeatureData, Tag("features")]
    | Annotated[CustomData, Tag("custom")],
    by_name(DATASET_NAMES),
]
