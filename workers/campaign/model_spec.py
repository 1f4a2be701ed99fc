"""Models as a campaign names them: one class per family, selected by `name`."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue, Tag

from workers.campaign.field_types import Fraction, Frozen, ImportPath, Size, Width, by_name
from workers.campaign.stage_dropout import StageDropout


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


class Inception(ModelOptions):
    """The small Inception for small images (Zhang et al., ICLR 2017)."""

    name: Literal["inception"]
    width: Annotated[int, Field(ge=1, le=256)] = 16
    """All numbers of channels are multiples of it; 16 is the paper's, which starts with 96."""


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
    "inception": "inception",
    "vit": "vit",
    "vit-small-data": "vit-small-data",
}


ModelSpec = Annotated[
    Annotated[MLP, Tag("mlp")]
    | Annotated[SmallCNN, Tag("small-cnn")]
    | Annotated[MNISTCNN, Tag("mnist-cnn")]
    | Annotated[ResNet9, Tag("resnet9")]
    | Annotated[Airbench, Tag("airbench")]
    | Annotated[ResNet, Tag("resnet")]
    | Annotated[WideResNet, Tag("wide-resnet")]
    | Annotated[DenseNet, Tag("densenet")]
    | Annotated[Inception, Tag("inception")]
    | Annotated[ViT, Tag("vit")]
    | Annotated[SmallDataViT, Tag("vit-small-data")]
    | Annotated[CustomModel, Tag("custom")],
    by_name(MODEL_NAMES),
]
