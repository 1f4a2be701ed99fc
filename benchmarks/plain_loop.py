"""Plain PyTorch loop for small networks: one model after the other.

On purpose nothing of ours is in it: it stands for the script that Longtail replaces.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

_EVALUATION_BATCH = 2000


@dataclass(frozen=True)
class LoopRecipe:
    """Fully connected network, SGD at a constant rate; `jax_initialization`: glorot-normal, biases normal with 0.01."""

    hidden: tuple[int, ...]
    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float
    jax_initialization: bool


@dataclass(frozen=True)
class LoopData:
    """The data set on the device: float32 images in [0, 1], [N, ...] and [T, ...], and int64 labels."""

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor


@dataclass(frozen=True)
class LoopResult:
    """Accuracy on the training examples outside the subset (None at ratio 1) and on the test examples."""

    held_out: float | None
    test: float


def train_model(data: LoopData, recipe: LoopRecipe, ratio: float, seed: int, *, bfloat16: bool = False) -> LoopResult:
    """Train one model on a random subset, with autocast where `bfloat16`, and evaluate it on all examples."""
    torch.manual_seed(seed)
    device = data.train_images.device
    count = len(data.train_images)
    chosen = torch.randperm(count, device=device)[: int(ratio * count)]
    images, labels = data.train_images[chosen], data.train_labels[chosen]
    model = _network(recipe, data.train_images[0].numel(), int(data.train_labels.max()) + 1).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum)
    for _ in range(recipe.epochs):
        order = torch.randperm(len(images), device=device)
        for batch in torch.split(order, recipe.batch_size):
            with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                loss = F.cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        train_correct = _correct(model, data.train_images, data.train_labels)
        test_correct = _correct(model, data.test_images, data.test_labels)
    outside = torch.ones(count, dtype=torch.bool, device=device)
    outside[chosen] = False
    held_out = train_correct[outside].float().mean().item() if outside.any() else None
    return LoopResult(held_out, test_correct.float().mean().item())


def _network(recipe: LoopRecipe, inputs: int, classes: int) -> nn.Sequential:
    sizes = [inputs, *recipe.hidden, classes]
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in, fan_out in pairwise(sizes):
        linear = nn.Linear(fan_in, fan_out)
        if recipe.jax_initialization:
            nn.init.xavier_normal_(linear.weight)
            nn.init.normal_(linear.bias, std=0.01)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _correct(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    batches = zip(torch.split(images, _EVALUATION_BATCH), torch.split(labels, _EVALUATION_BATCH), strict=True)
    return torch.cat([model(x).argmax(1) == y for x, y in batches])
