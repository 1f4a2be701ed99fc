"""Models and data of a user of the tests' own. Campaigns name a copy of this module, user_code, in a folder elsewhere:
what lies in Longtail's own folders is no user's."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import OutOfMemoryError, Tensor, cat, fx, nn, no_grad, rand
from torch.nn import functional

from workers.datasets import Dataset
from workers.store.probe_columns import ProbeColumn, axis
from workers.training.probes.base import ProbeShape, Subject


def dropout_model(input_shape: tuple[int, ...], num_classes: int, width: int) -> nn.Module:
    """A model that draws from torch's global generator while it trains."""
    pixels = int(np.prod(input_shape))
    return nn.Sequential(
        nn.Flatten(), nn.Linear(pixels, width), nn.ReLU(), nn.Dropout(0.5), nn.Linear(width, num_classes)
    )


def hostile_layers(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """A model whose layers have names that are not to be trusted."""
    pixels = int(np.prod(input_shape))
    layers = nn.Linear(pixels, 4), nn.Linear(4, 4), nn.Linear(4, num_classes)
    model = nn.Sequential(nn.Flatten())
    for name, layer in zip((HOSTILE, "$x_1$ & {{ 7 * 7 }}", "<img src=x onerror=alert(2)>"), layers, strict=True):
        model.add_module(name, layer)
    return model


def headless_model(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """A model that ends with a convolution and an average, without a linear layer."""
    return nn.Sequential(nn.Conv2d(input_shape[0], num_classes, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class _ManyLayers(nn.Module):
    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 8, 3, padding=1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(8), nn.GroupNorm(2, 8), nn.LayerNorm(32)])
        self.pools = nn.ModuleList([nn.AdaptiveAvgPool2d(2), nn.AdaptiveMaxPool2d(2)])
        self.twice = nn.Linear(32, 32)
        self.head = nn.Linear(32, num_classes)
        self.last = nn.BatchNorm1d(num_classes)
        self.drop = nn.Dropout2d(0.3)

    def forward(self, images: Tensor) -> Tensor:
        x = functional.gelu(self.norms[0](self.conv(images)))
        x = self.drop(self.norms[1](x) * x.sigmoid())
        one, other = self.pools[0](x).chunk(2, dim=1)
        x = cat([other, one + self.pools[1](x)[:, 4:]], dim=1).flatten(1)
        x = self.norms[2](x + self.twice(self.twice(x).tanh()))
        x = x * x.softmax(dim=1) + x.cumsum(dim=1).clamp(min=0).sqrt().mean(dim=1, keepdim=True)
        return self.last(self.head(x))


def many_layers(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """A model of many kinds of layers and functions; one is used twice, one has batch statistics after the head."""
    return _ManyLayers(input_shape[0], num_classes)


class _Faulty(nn.Module):
    """Linear, until its `fault` is called at a training step.

    The condition depends on values, which torch.fx cannot trace: planning, which traces models in the driver to stack
    them, does not call it.
    """

    def __init__(self, pixels: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(pixels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        if self.training and images.isfinite().any():
            self.fault()
        return self.linear(images.flatten(1))

    def fault(self) -> None:
        raise NotImplementedError


class _Raising(_Faulty):
    def fault(self) -> None:
        raise RuntimeError("the user's own mistake")


class _Dying(_Faulty):
    def fault(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class _RaisingOnce(_Faulty):
    """Raises at the first training step that any process takes, as told by a file."""

    def __init__(self, pixels: int, num_classes: int, marker: str) -> None:
        super().__init__(pixels, num_classes)
        self.marker = marker

    def fault(self) -> None:
        try:
            os.close(os.open(self.marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        raise MemoryError("full this once")


def raising_model(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Raises at every training step."""
    return _Raising(int(np.prod(input_shape)), num_classes)


def raising_once_model(input_shape: tuple[int, ...], num_classes: int, marker: str) -> nn.Module:
    """Raises at its first training step ever."""
    return _RaisingOnce(int(np.prod(input_shape)), num_classes, marker)


def dying_model(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Kills the process that trains it."""
    return _Dying(int(np.prod(input_shape)), num_classes)


def explosive_model(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """A linear model that overflows at its first step, for about half of all seeds."""
    linear = nn.Linear(int(np.prod(input_shape)), num_classes)
    if rand(()) < 0.5:
        linear.weight.data.mul_(1e38)
    return nn.Sequential(nn.Flatten(), linear)


def noted(images: Tensor, log: str) -> Tensor:
    """The images as they are, and a line in the log. Lines whose numbers LOG.faults holds raise, LOG.deaths kill."""
    path = Path(log)
    with path.open("a") as file:
        file.write(f"{os.getpid()}\n")
    line = str(len(path.read_text().splitlines()))
    faults, deaths = path.with_suffix(".faults"), path.with_suffix(".deaths")
    if faults.exists() and line in faults.read_text().split():
        raise MemoryError("full this once")
    if deaths.exists() and line in deaths.read_text().split():
        os.kill(os.getpid(), signal.SIGKILL)
    return images


fx.wrap("noted")


def scarce(images: Tensor, rows: int) -> Tensor:
    """The images as they are; raises what a GPU without memory does where they are more than `rows`."""
    if len(images) > rows:
        raise OutOfMemoryError(f"CUDA out of memory. Tried to allocate {len(images)} rows.")
    return images


fx.wrap("scarce")


class _Scarce(nn.Module):
    def __init__(self, pixels: int, num_classes: int, rows: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(pixels, 8), nn.ReLU(), nn.Linear(8, num_classes))
        self.rows = rows

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(scarce(images, self.rows))


def scarce_model(input_shape: tuple[int, ...], num_classes: int, rows: int) -> nn.Module:
    """A model that runs out of memory where it is given more than `rows` inputs, of all models of a stack together."""
    return _Scarce(int(np.prod(input_shape)), num_classes, rows)


class _Noted(nn.Module):
    """Batch statistics, dropout, a buffer that is in no state_dict; tells of every minibatch that it trains on."""

    def __init__(self, input_shape: tuple[int, ...], num_classes: int, log: str, stackable: bool, scale: float) -> None:
        super().__init__()
        self.log = log
        self.convolution = nn.Conv2d(input_shape[0], 4, 3)
        self.normalization = nn.BatchNorm2d(4)
        # The second kind has no stacked form.
        self.dropout: nn.Module = nn.Dropout(0.3) if stackable else nn.Dropout1d(0.3)
        self.head = nn.Linear(4 * (input_shape[1] - 2) * (input_shape[2] - 2), num_classes)
        if rand(()) < 0.5:
            self.head.weight.data.mul_(scale)
        self.counter: Tensor
        if not stackable:
            self.register_buffer("counter", rand(()), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            images = noted(images, self.log)
        if hasattr(self, "counter") and self.training:
            self.counter.mul_(0.99)
            images = images * self.counter
        hidden = self.normalization(self.convolution(images)).relu()
        return self.head(self.dropout(hidden.flatten(1)))


class _Secretive(_Noted):
    """Keeps something that is neither parameter nor buffer, and says so."""

    def get_extra_state(self) -> object:
        return {"seen": 1}

    def set_extra_state(self, state: object) -> None:
        raise NotImplementedError


def noted_model(
    input_shape: tuple[int, ...],
    num_classes: int,
    log: str,
    stackable: bool = True,
    scale: float = 1.0,
    secretive: bool = False,
) -> nn.Module:
    """Writes a line to `log` at every minibatch. `scale` multiplies the last layer's weights, for half of all seeds."""
    kind = _Secretive if secretive else _Noted
    return kind(input_shape, num_classes, log, stackable and not secretive, scale)


def blobs(examples: int = 60, seed: int = 0) -> Dataset:
    """Two overlapping clouds of points, as float features, without test examples' noise."""
    random = np.random.default_rng(seed)
    labels = np.arange(examples) % 2
    points = random.normal(size=(examples, 4)).astype(np.float32) + labels[:, None].astype(np.float32)
    half = examples // 2
    return Dataset(points[:half], labels[:half], points[half:], labels[half:], ("low", "high"), white=1.0)


def pictures(side: int = 16) -> Dataset:
    """Random colour images whose class is their brightest channel."""
    random = np.random.default_rng(0)
    labels = np.arange(48) % 3
    images = random.integers(0, 100, (48, 3, side, side), dtype=np.uint8)
    images[np.arange(48), labels] += 100
    return Dataset(images[:32], labels[:32], images[32:], labels[32:], ("red", "green", "blue"))


def untested_blobs() -> Dataset:
    """The same without test examples."""
    whole = blobs()
    return Dataset(
        whole.train_images, whole.train_labels, whole.test_images[:0], whole.test_labels[:0], whole.class_names
    )


def raising_data() -> Dataset:
    """Fails while it loads."""
    raise FileNotFoundError("the user's data are elsewhere")


HOSTILE = "<script>alert(1)</script>"
NAMES = (HOSTILE, "cat", '"><img src=x onerror=alert(2)>')
CALLS: list[str] = []


def coloured(names: Sequence[str] = NAMES, train_names: Any = None) -> Dataset:
    """Tiny RGB images of classes whose names are not to be trusted."""
    CALLS.append("coloured")
    random = np.random.default_rng(0)
    train, test = (random.integers(0, 256, (count, 3, 5, 4), dtype=np.uint8) for count in (60, 12))
    return Dataset(train, np.arange(60) % 3, test, np.arange(12) % 3, tuple(names), train_names=train_names)


def grey() -> Dataset:
    """Tiny images of classes whose names could be taken for a formula."""
    random = np.random.default_rng(0)
    train, test = (random.integers(0, 256, (count, 1, 4, 4), dtype=np.uint8) for count in (40, 8))
    return Dataset(train, np.arange(40) % 2, test, np.arange(8) % 2, ("_$x^2$", "cat"))


def features() -> Dataset:
    """No images."""
    random = np.random.default_rng(0)
    train, test = (random.random((count, 6), dtype=np.float32) for count in (20, 4))
    return Dataset(train, np.arange(20) % 2, test, np.arange(4) % 2, ("a", "b"))


class _OwnBaseError(BaseException):
    """Not an Exception, so that `except Exception` lets it through."""


class _TextlessError(Exception):
    def __str__(self) -> str:
        raise SystemExit(0)


def _overflow(depth: int = 0) -> int:
    return _overflow(depth + 1) + 1


def _end(kind: str) -> None:
    """Raise what ends a program, or what is hard to tell."""
    match kind:
        case "exit":
            sys.exit(0)
        case "interrupt":
            raise KeyboardInterrupt
        case "base":
            raise _OwnBaseError("of the user's own")
        case "cancelled":
            raise asyncio.CancelledError
        case "generator":
            raise GeneratorExit
        case "textless":
            raise _TextlessError
        case "huge":
            raise ValueError("x" * 10_000_000)
        case "recursion":
            _overflow()
        case "memory":
            raise MemoryError
        case "iteration":
            raise StopIteration
        case "end of file":
            raise EOFError("the user's file is short")
        case "not UTF-8":
            raise RuntimeError("caf\udce9")


class _Ending(_Faulty):
    def __init__(self, pixels: int, num_classes: int, kind: str) -> None:
        super().__init__(pixels, num_classes)
        self.kind = kind

    def fault(self) -> None:
        _end(self.kind)


def ending_model(input_shape: tuple[int, ...], num_classes: int, kind: str, when: str = "training") -> nn.Module:
    """Raises, when it is built or trained, something that programs end with or that is hard to tell."""
    if when == "build":
        _end(kind)
    return _Ending(int(np.prod(input_shape)), num_classes, kind)


def ending_data(kind: str) -> Dataset:
    """Likewise, while it loads."""
    _end(kind)
    return blobs()


class Norms:
    """A probe of the user's own: norms of the parameters at the start, after epoch 1 and at the end, in two parts.

    It draws from torch's global generator, notes each part in a log, and raises at those that the log's `.faults` name.
    """

    kept_epochs: Sequence[int] = (1,)

    def __init__(self, log: str) -> None:
        self.log = Path(log)

    def columns(self, shape: ProbeShape) -> Sequence[ProbeColumn]:
        last = shape.campaign.recipe.epochs
        return [
            ProbeColumn(
                name="probe_norms", dtype="float32", axes=(axis("epoch", (0, 1, last)), axis("tensor", shape.tensors))
            ),
            ProbeColumn(name="probe_subset", dtype="bool", axes=(axis("example", shape.num_train),)),
        ]

    def units(self, shape: ProbeShape) -> int:
        return 2

    def measure(self, unit: int, subject: Subject, values: Mapping[str, np.ndarray]) -> None:
        number = len(self.log.read_text().splitlines()) if self.log.exists() else 0
        with self.log.open("a") as log:
            log.write(f"{subject.run.run_id} {unit}\n")
        faults = self.log.with_suffix(".faults")
        if faults.exists() and number in map(int, faults.read_text().split()):
            raise RuntimeError("the probe's own mistake")
        rand(3)  # of torch's global generator
        if unit == 0:
            for place, epoch in enumerate(sorted(subject.states)):
                state = subject.states[epoch]
                values["probe_norms"][place] = [float(state[name].norm()) for name in subject.shape.tensors]
        else:
            model = subject.build()
            with no_grad():
                model(subject.data.scaled(subject.data.train_images.select(subject.data.split.nonzero()[:2, 0])))
                for parameter in model.parameters():
                    parameter.zero_()  # a probe may do what it likes with what it built
            values["probe_subset"][:] = subject.subset & ~subject.split


class NoProbe:
    """Not a probe: has no measurement."""

    kept_epochs: Sequence[int] = ()

    def columns(self, shape: ProbeShape) -> Sequence[ProbeColumn]:
        return []


class NamedAsOurs(Norms):
    """A probe whose column would be taken for one of Longtail's own."""

    def columns(self, shape: ProbeShape) -> Sequence[ProbeColumn]:
        return [ProbeColumn(name="probe_neurons_mine", dtype="int16", axes=(axis("place", 2),))]
