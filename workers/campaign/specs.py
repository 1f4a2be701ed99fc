"""Specifications of data sets, models and score columns: one class per kind, selected by `name`."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, JsonValue, Tag

from workers.campaign.recipe import Fraction, Frozen
from workers.campaign.stage_dropout import StageDropout

TORCHVISION_DATASETS = ("mnist", "fashion-mnist", "kmnist", "cifar10", "svhn")
PathText = Annotated[str, Field(min_length=1, max_length=4096)]
ImportPath = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", max_length=500)]
Size = Annotated[int, Field(ge=1, le=1024)]
Width = Annotated[int, Field(ge=1, le=65_536)]
ColumnName = Annotated[str, Field(min_length=1, max_length=500)]

LOCATION: dict[str, JsonValue] = {"location": True}
"""Marks a field that says where data lie, not what they are: the campaign's identity leaves it out."""
PATH: dict[str, JsonValue] = {**LOCATION, "path": True}
"""Marks a location that is a path or a URI. In a campaign file paths are relative to the file's folder."""


class Digits(Frozen):
    """scikit-learn's handwritten digits, 8 x 8 pixels: 1,437 training and 360 test examples (every fifth image)."""

    name: Literal["digits"] = "digits"


class TorchvisionData(Frozen):
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


class ImageOptions(Frozen):
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


class CustomData(Frozen):
    """`package.module:function`, called with `options`, returns a `workers.datasets.Dataset`."""

    name: ImportPath
    options: dict[str, JsonValue] = Field(default_factory=dict)


def _sha256(text: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise ValueError(f"must be 64 digits of 0-9 and a-f, got {text[:80]!r}")
    return text


Sha256 = Annotated[str, AfterValidator(_sha256)]


class ScoreColumn(Frozen):
    """A number for each training example: a column of a table, such as those that `longtail estimate` writes.

    Rows are told by a column `example_id`, in any order; without one they are in canonical order.
    """

    file: Annotated[PathText, Field(json_schema_extra=PATH)]
    """Parquet, CSV or npz: a path or a URI. Read where the campaign is started, once: workers take scores from the
    store."""
    column: Annotated[ColumnName, Field(json_schema_extra=LOCATION)]
    """In an npz file the array, which is in canonical order."""
    ratio: Annotated[float | None, Field(gt=0, le=1, json_schema_extra=LOCATION)] = None
    """The rows to take of a table that has some at several ratios (column `ratio`)."""
    sha256: Sha256 | None = None
    """Of the scores as little-endian float64 in canonical order. Found out when the campaign starts, or given, so that
    other scores are refused."""


class ModelOptions(Frozen):
    """What every model can have."""

    stage_dropout: Annotated[StageDropout | None, Field(discriminator="name")] = None
    """Dropout behind each of the model's stages: `docs/localization.md`."""


class MLP(ModelOptions):
    """Fully connected layers with ReLU between them."""

    name: Literal["mlp"] = "mlp"
    hidden: Annotated[tuple[Width, ...], Field(strict=False, max_length=100)] = (512, 256)
    """Units of each hidden layer; empty: a linear model."""


class SmallCNN(ModelOptions):
    """Two 3 x 3 convolutions with ReLU and pooling, then one hidden layer."""

    name: Literal["small-cnn"]
    width: Width = 32
    hidden: Width = 128


class MNISTCNN(ModelOptions):
    """The network of PyTorch's MNIST example, in which example forgetting was first counted."""

    name: Literal["mnist-cnn"]
    dropout: Fraction = 0.5
    """Of the second convolution's channels, and of the hidden layer's units."""


class ResNet9(ModelOptions):
    """The nine-layer residual network of fast CIFAR-10 training and of the datamodels paper."""

    name: Literal["resnet9"]
    width: Width = 64


class Airbench(ModelOptions):
    """The small network of the fastest CIFAR-10 training; made for `recipe.initialization.whitening`."""

    name: Literal["airbench"]
    widths: Annotated[tuple[Width, Width, Width], Field(strict=False)] = (64, 128, 128)
    """Channels of its three blocks; the paper's for 94% has 64, 256, 256."""


class ResNet(ModelOptions):
    """torchvision's ResNet; for images up to 64 pixels with a 3 x 3 stem of stride 1 and without its pooling."""

    name: Literal["resnet18", "resnet50"]
    stem: Literal["auto", "imagenet"] = "auto"
    """`imagenet`: torchvision's own, 7 x 7 with stride 2 and pooling, for small images, too."""


def _block_depth(depth: int) -> int:
    if depth % 6 != 4:
        raise ValueError(f"must be 4 more than a multiple of 6, such as 16, 28 or 40, got {depth}")
    return depth


class WideResNet(ModelOptions):
    """A wide residual network for small images, WRN-depth-width (Zagoruyko & Komodakis, BMVC 2016)."""

    name: Literal["wide-resnet"]
    depth: Annotated[int, Field(ge=10, le=100), AfterValidator(_block_depth)] = 28
    width: Annotated[int, Field(ge=1, le=64)] = 10
    """Of the channels 16, 32 and 64 of its three groups."""
    dropout: Fraction = 0.0
    """Within each block, before its second convolution."""


class DenseNet(ModelOptions):
    """DenseNet-BC for small images, DenseNet-BC-depth-growth (Huang et al., CVPR 2017)."""

    name: Literal["densenet"]
    depth: Annotated[int, Field(ge=10, le=250), AfterValidator(_block_depth)] = 100
    growth: Annotated[int, Field(ge=1, le=128)] = 12
    """Channels that each layer adds."""


class ViT(ModelOptions):
    """torchvision's vision transformer, sized for small images."""

    name: Literal["vit"]
    patch_size: Size = 4
    """Must divide the image's height, which must equal its width."""
    layers: Annotated[int, Field(ge=1, le=100)] = 6
    heads: Annotated[int, Field(ge=1, le=128)] = 4
    width: Width = 192
    """Units per token; a multiple of `heads`."""
    dropout: Fraction = 0.0


class SmallDataViT(ModelOptions):
    """The vision transformer for small data sets (Lee, Lee, Song: arXiv:2112.13492): tokens of an image and of shifted
    copies of it, and attention with a learned temperature in which no token sees itself."""

    name: Literal["vit-small-data"]
    patch_size: Size = 2
    """Must divide the image's height, which must equal its width."""
    layers: Annotated[int, Field(ge=1, le=100)] = 6
    heads: Annotated[int, Field(ge=1, le=128)] = 8
    width: Width = 512
    """Units per token; a multiple of `heads`."""
    hidden: Width = 512
    """Units of each block's hidden layer."""
    dropout: Fraction = 0.1
    shifts: Literal["axes", "diagonals"] = "axes"
    """Of the four copies: by one pixel along the axes, as in the code that Maini et al. (ICML 2023) used, or by half a
    patch along the diagonals, as in the paper."""


class CustomModel(ModelOptions):
    """`package.module:function`, called as `f(input_shape, num_classes, **options)`, returns a `torch.nn.Module`."""

    name: ImportPath
    options: dict[str, JsonValue] = Field(default_factory=dict)


def _tag(names: dict[str, str]) -> Discriminator:
    def tag_of(value: Any) -> str | None:
        name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
        if not isinstance(name, str):
            return None
        return "custom" if ":" in name else names.get(name)

    return Discriminator(tag_of)


DATASET_NAMES = {
    "digits": "digits",
    **dict.fromkeys(TORCHVISION_DATASETS, "torchvision"),
    "emnist": "emnist",
    "cifar100": "cifar100",
    "image-folder": "image-folder",
    "parquet": "parquet",
}
MODEL_NAMES = {
    "mlp": "mlp",
    "small-cnn": "small-cnn",
    "mnist-cnn": "mnist-cnn",
    "resnet9": "resnet9",
    "airbench": "airbench",
    "resnet18": "resnet",
    "resnet50": "resnet",
    "wide-resnet": "wide-resnet",
    "densenet": "densenet",
    "vit": "vit",
    "vit-small-data": "vit-small-data",
}

DatasetSpec = Annotated[
    Annotated[Digits, Tag("digits")]
    | Annotated[TorchvisionData, Tag("torchvision")]
    | Annotated[EMNIST, Tag("emnist")]
    | Annotated[CIFAR100, Tag("cifar100")]
    | Annotated[ImageFolder, Tag("image-folder")]
    | Annotated[ParquetImages, Tag("parquet")]
    | Annotated[CustomData, Tag("custom")],
    _tag(DATASET_NAMES),
]
ModelSpec = Annotated[
    Annotated[MLP, Tag("mlp")]
    | Annotated[SmallCNN, Tag("small-cnn")]
    | Annotated[MNISTCNN, Tag("mnist-cnn")]
    | Annotated[ResNet9, Tag("resnet9")]
    | Annotated[Airbench, Tag("airbench")]
    | Annotated[ResNet, Tag("resnet")]
    | Annotated[WideResNet, Tag("wide-resnet")]
    | Annotated[DenseNet, Tag("densenet")]
    | Annotated[ViT, Tag("vit")]
    | Annotated[SmallDataViT, Tag("vit-small-data")]
    | Annotated[CustomModel, Tag("custom")],
    _tag(MODEL_NAMES),
]
