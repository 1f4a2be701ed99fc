"""Plain PyTorch loop for CIFAR-10: DataLoader with worker processes, torchvision's transforms.

On purpose nothing of ours is in it: it stands for the script that Longtail replaces.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torchvision
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import transforms as T

from benchmarks.plain_loop import LoopResult

_MEAN, _STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
_EVALUATION_BATCH = 500


@dataclass(frozen=True)
class ImageRecipe:
    """SGD with momentum; `schedule` triangular (to the rate at `peak_epoch`, then to 0) or half a cosine to 0.

    Augmentation: crop after padding by `padding` pixels, flip, a square of `cutout` pixels a side blanked (0: none).
    """

    network: Literal["resnet9", "resnet18"]
    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float
    weight_decay: float
    schedule: Literal["triangular", "cosine"]
    peak_epoch: float
    label_smoothing: float
    padding: int
    cutout: int
    flip_at_evaluation: bool


class ImageData(Dataset[tuple[Any, int]]):
    """Images uint8[N, H, W, 3] and labels as torchvision's CIFAR10 serves them: a PIL image, transformed when asked."""

    def __init__(self, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], transform: Any) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


@dataclass(frozen=True)
class Execution:
    """How: on which torch device, with how many DataLoader processes, whether with autocast to bfloat16."""

    device: str
    workers: int
    bfloat16: bool = False

    def loader(self, data: Dataset[tuple[Any, int]], batch_size: int, *, training: bool) -> DataLoader[Any]:
        """Shuffled and without the last, smaller minibatch where it is for training."""
        return DataLoader(
            data,
            batch_size,
            shuffle=training,
            drop_last=training,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=self.device != "cpu",
        )

    def autocast(self) -> torch.autocast:
        """The context in which the model is called."""
        return torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.bfloat16)


@dataclass(frozen=True)
class ImageArrays:
    """The data set in memory: images uint8[N, H, W, 3] and [T, H, W, 3], int64 labels."""

    train_images: npt.NDArray[np.uint8]
    train_labels: npt.NDArray[np.int64]
    test_images: npt.NDArray[np.uint8]
    test_labels: npt.NDArray[np.int64]


def train_model(arrays: ImageArrays, recipe: ImageRecipe, ratio: float, seed: int, execution: Execution) -> LoopResult:
    """Train one model on a random subset and evaluate it on all examples."""
    torch.manual_seed(seed)
    count = len(arrays.train_images)
    chosen = torch.randperm(count)[: int(ratio * count)]
    data = ImageData(arrays.train_images, arrays.train_labels, _augmentation(recipe))
    loader = execution.loader(Subset(data, chosen.tolist()), recipe.batch_size, training=True)
    build = resnet9 if recipe.network == "resnet9" else resnet18
    model = build(int(arrays.train_labels.max()) + 1).to(execution.device)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, _rate_factor(recipe, len(loader)))
    model.train()
    for _ in range(recipe.epochs):
        for images, labels in loader:
            inputs, targets = images.to(execution.device), labels.to(execution.device)
            with execution.autocast():
                loss = F.cross_entropy(model(inputs), targets, label_smoothing=recipe.label_smoothing)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            scheduler.step()
    train_correct = _correct(model, arrays.train_images, arrays.train_labels, recipe, execution)
    test_correct = _correct(model, arrays.test_images, arrays.test_labels, recipe, execution)
    outside = torch.ones(count, dtype=torch.bool)
    outside[chosen] = False
    held_out = train_correct[outside].float().mean().item() if outside.any() else None
    return LoopResult(held_out, test_correct.float().mean().item())


def resnet18(classes: int) -> nn.Module:
    """torchvision's, with the stem that 32 x 32 images need."""
    model: nn.Module = torchvision.models.resnet18(num_classes=classes)
    model.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model


def resnet9(classes: int) -> nn.Module:
    """The network of FFCV's CIFAR-10 example and of the datamodels paper."""
    return nn.Sequential(
        _conv_bn(3, 64),
        _conv_bn(64, 128, kernel=5, stride=2, padding=2),
        _Residual(_conv_bn(128, 128), _conv_bn(128, 128)),
        _conv_bn(128, 256),
        nn.MaxPool2d(2),
        _Residual(_conv_bn(256, 256), _conv_bn(256, 256)),
        _conv_bn(256, 128, padding=0),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(128, classes, bias=False),
        _Scale(),
    )


class _Residual(nn.Sequential):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + super().forward(x)  # type: ignore[no-any-return, no-untyped-call]


class _Scale(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0.2 * x


def _conv_bn(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, padding: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _augmentation(recipe: ImageRecipe) -> Any:
    steps = [T.RandomCrop(32, padding=recipe.padding), T.RandomHorizontalFlip(), T.ToTensor(), T.Normalize(_MEAN, _STD)]
    if recipe.cutout:
        area = (recipe.cutout / 32) ** 2
        steps.append(T.RandomErasing(p=1.0, scale=(area, area), ratio=(1.0, 1.0)))
    return T.Compose(steps)


def _rate_factor(recipe: ImageRecipe, steps: int) -> Callable[[int], float]:
    """From the step to the learning rate's factor; `steps` are those of an epoch."""
    total = recipe.epochs * steps
    if recipe.schedule == "cosine":
        return lambda step: (1 + math.cos(math.pi * step / total)) / 2
    return lambda step: float(np.interp(step, [0, recipe.peak_epoch * steps, total], [0, 1, 0]))


@torch.inference_mode()
def _correct(
    model: nn.Module,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    recipe: ImageRecipe,
    execution: Execution,
) -> torch.Tensor:
    """bool[number of images]."""
    model.eval()
    data = ImageData(images, labels, T.Compose([T.ToTensor(), T.Normalize(_MEAN, _STD)]))
    correct = []
    for batch, targets in execution.loader(data, _EVALUATION_BATCH, training=False):
        inputs = batch.to(execution.device)
        with execution.autocast():
            logits = model(inputs)
            if recipe.flip_at_evaluation:
                logits = logits + model(inputs.flip(-1))
        correct.append(logits.argmax(1).cpu() == targets)
    return torch.cat(correct)
