"""Data loading: images/s from Longtail's cache beside torchvision's ImageFolder with DataLoader, in the same run.

    python -m benchmarks.loading
    python -m benchmarks.loading --side 224 --images 64 --workers 0 --batch-size 16 --steps 4

The benchmark makes JPEG folders itself. Both flip and shift each image and make it a float32 input: Longtail indexes
its memory-mapped uint8 cache by minibatch and augments on the training device, the DataLoader decodes files in its
workers. Then a ResNet is trained on each (ResNet-18; on a GPU ResNet-50 in bfloat16), and the share of a step that
waits for data is told: the time until a minibatch is on the device, over the whole. The device is synchronized around
it. Making the cache is measured once; it is kept for every later start. Rows are printed as they are there, and
appended to a file of JSON lines.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torchvision
from PIL import Image
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision import transforms as T

from benchmarks.gpu.journal import Journal, Row, Values
from workers.campaign.campaign import Campaign
from workers.campaign.yaml_io import parse_campaign
from workers.datasets import load_dataset
from workers.training.augmentation import augment, draw_changes
from workers.training.device_data import DeviceData, load_on_device
from workers.training.loop import device_name

Minibatch = tuple[torch.Tensor, torch.Tensor]
"""float32[B, 3, H, W] and int64[B], on the device."""
Epoch = Callable[[], Iterator[Minibatch]]

_CLASSES = 4
_SHIFT = 4


@dataclass(frozen=True)
class LoadingSettings:
    """Images in the folder, of a minibatch, repeats of an epoch, steps of training, and where it trains."""

    images: int
    batch_size: int
    repeats: int
    steps: int
    device: torch.device


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, nargs="+", default=[32, 224], help="pixels")
    parser.add_argument("--images", type=int, nargs="+", default=[4096, 512], help="for each side")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], help="of the DataLoader")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3, help="epochs of which the median is told")
    parser.add_argument("--steps", type=int, default=8, help="training steps whose waiting is told; the first is not")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path("loading-rows.jsonl"), help="rows are appended to this file")
    options = parser.parse_args()
    if len(options.side) != len(options.images):
        parser.error("--images needs one number for each --side")
    device = torch.device(options.device)
    journal = Journal(options.out, 60, {"device": device_name(device), "torch": torch.__version__})
    for side, images in zip(options.side, options.images, strict=True):
        settings = LoadingSettings(images, options.batch_size, options.repeats, options.steps, device)
        with tempfile.TemporaryDirectory() as folder:
            measure_side(Path(folder), side, options.workers, settings, journal)


def measure_side(folder: Path, side: int, workers: list[int], settings: LoadingSettings, journal: Journal) -> None:
    """The rows of one image size."""
    make_folder(folder / "images", side, settings.images)
    os.environ["LONGTAIL_CACHE"] = str(folder / "cache")
    campaign = make_campaign(folder / "images")
    started = time.perf_counter()
    load_dataset(campaign.dataset)
    seconds = time.perf_counter() - started
    made: Values = {"images/s": settings.images / seconds, "images": settings.images}
    journal.add(Row(f"{side} pixels", "making the cache, once", lambda: made))
    epochs = {"Longtail's cache": longtail_epoch(campaign, settings)}
    epochs |= {f"DataLoader, workers {number}": loader_epoch(folder, side, number, settings) for number in workers}
    for name, epoch in epochs.items():
        journal.add(Row(f"{side} pixels", f"{name}: loading", partial(loading_values, epoch, settings)))
        journal.add(Row(f"{side} pixels", f"{name}: training", partial(training_values, epoch, settings)))


def make_folder(root: Path, side: int, images: int) -> None:
    """JPEG files of smooth random colours, as large as photographs of that size: train/<class>, and a few in test."""
    random = np.random.default_rng(0)
    for split, count in (("train", images), ("test", _CLASSES)):
        for number in range(count):
            place = root / split / f"class{number % _CLASSES}" / f"{number}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            colours = random.integers(0, 256, (max(2, side // 4), max(2, side // 4), 3)).astype(np.uint8)
            Image.fromarray(colours).resize((side, side), Image.Resampling.BILINEAR).save(place, quality=90)


def make_campaign(root: Path) -> Campaign:
    """A campaign on the folder, whose recipe flips and shifts."""
    recipe = f"{{epochs: 1, batch_size: 64, augmentation: {{flip: true, translate: {_SHIFT}}}}}"
    text = f"dataset: {{name: image-folder, root: {root}}}\nmodel: {{name: resnet18}}\nrecipe: {recipe}\n"
    return parse_campaign(text + "subsets: {ratios: [0.7], repetitions: 1}\n")


def longtail_epoch(campaign: Campaign, settings: LoadingSettings) -> Epoch:
    """Minibatches as training gets them: pixels, scaling, augmentation, with an epoch's draws made before it."""
    dataset, random = load_dataset(campaign.dataset), np.random.default_rng(0)
    data: DeviceData = load_on_device(dataset, campaign, np.asarray(dataset.train_labels), settings.device)
    how, size = campaign.recipe.augmentation, settings.batch_size

    def epoch() -> Iterator[Minibatch]:
        order = random.permutation(settings.images)
        draws = draw_changes(how, data.train_images.shape, settings.images, random)
        changes, places = torch.tensor(draws, device=data.device), torch.tensor(order, device=data.device)
        for number, stored in enumerate(data.train_images.minibatches(order, size)):
            part = slice(number * size, number * size + len(stored))
            images = augment(data.scaled(stored), how, data.fill, changes[:, part])
            yield images, data.train_labels.index_select(0, places[part])

    return epoch


def loader_epoch(folder: Path, side: int, workers: int, settings: LoadingSettings) -> Epoch:
    """torchvision's transforms of the same kind, in the loader's workers, which stay from epoch to epoch."""
    changes = T.Compose([T.RandomCrop(side, padding=_SHIFT), T.RandomHorizontalFlip(), T.ToTensor()])
    loader: DataLoader[Minibatch] = DataLoader(
        torchvision.datasets.ImageFolder(folder / "images" / "train", changes),
        settings.batch_size,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=settings.device.type == "cuda",
    )

    def epoch() -> Iterator[Minibatch]:
        for images, labels in loader:
            yield images.to(settings.device, non_blocking=True), labels.to(settings.device, non_blocking=True)

    return epoch


def loading_values(epoch: Epoch, settings: LoadingSettings) -> Values:
    """Images/s of whole epochs that nobody trains on, after one that is not counted."""
    rates: list[float] = []
    for _ in range(settings.repeats + 1):
        started = time.perf_counter()
        count = sum(len(labels) for _, labels in epoch())
        _synchronize(settings.device)
        rates.append(count / (time.perf_counter() - started))
    return {"images/s": median(rates[1:]), "lowest": min(rates[1:]), "highest": max(rates[1:])}


def training_values(epoch: Epoch, settings: LoadingSettings) -> Values:
    """Milliseconds of a step, and the share in which it waits for data; without the first step."""
    device, cuda = settings.device, settings.device.type == "cuda"
    torch.manual_seed(0)
    network = torchvision.models.resnet50 if cuda else torchvision.models.resnet18
    model = network(num_classes=_CLASSES).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    minibatches, waiting, whole = _endless(epoch), list[float](), list[float]()
    for _ in range(settings.steps + 1):
        _synchronize(device)
        started = time.perf_counter()
        (images, labels), *_ = islice(minibatches, 1)
        _synchronize(device)
        waiting.append(time.perf_counter() - started)
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=cuda):
            loss = F.cross_entropy(model(images).float(), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        _synchronize(device)
        whole.append(time.perf_counter() - started)
    share = sum(waiting[1:]) / sum(whole[1:])
    return {"ms a step": 1000 * median(whole[1:]), "share that waits": share}


def _endless(epoch: Epoch) -> Iterator[Minibatch]:
    while True:
        yield from epoch()


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
