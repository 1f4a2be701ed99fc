"""Sources of raw pixels in training: resident on the device, or streamed from memory-mapped files."""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import torch

from workers.common.arrays import Integers

_READERS = min(8, os.cpu_count() or 1)
_AHEAD = 2 * _READERS
"""Minibatches in preparation: enough that every reader has the next one to go on with."""


class PixelSource(Protocol):
    """Stored images of one split (uint8 or float32, [N, ...]), served as tensors on `device`."""

    shape: tuple[int, ...]
    """Of one image."""
    device: torch.device
    on_device: bool
    """Whether `select` is work of the device alone, as a training step that is captured as a CUDA graph needs it."""

    def __len__(self) -> int: ...

    def select(self, index: torch.Tensor) -> torch.Tensor:
        """The images at int64[B], which is on the device."""

    def minibatches(self, order: Integers, size: int) -> Iterator[torch.Tensor]:
        """The images at int64[n], `size` at a time, the last ones fewer."""


class ResidentPixels:
    """All images on the device (for the CPU: a memory map is enough, and its pages are shared between workers)."""

    on_device = True

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images
        self.shape = tuple(images.shape[1:])
        self.device = images.device

    def __len__(self) -> int:
        return len(self.images)

    def select(self, index: torch.Tensor) -> torch.Tensor:
        """See `Pixels.select`."""
        return self.images.index_select(0, index)

    def minibatches(self, order: Integers, size: int) -> Iterator[torch.Tensor]:
        """See `Pixels.minibatches`."""
        index = torch.from_numpy(order).to(self.device)
        return (self.select(index[start : start + size]) for start in range(0, len(index), size))


class StreamedPixels:
    """Images that do not fit the device: threads gather the coming minibatches while the device works.

    They come from the cache of decoded images, so a streamed campaign sees the same pixels, bit for bit.
    """

    on_device = False

    def __init__(self, images: torch.Tensor, device: torch.device) -> None:
        self.images = images
        self.shape = tuple(images.shape[1:])
        self.device = device

    def __len__(self) -> int:
        return len(self.images)

    def select(self, index: torch.Tensor) -> torch.Tensor:
        """See `Pixels.select`. Waits for the images; `minibatches` does not."""
        return self._gathered(index.cpu()).to(self.device, non_blocking=True)

    def minibatches(self, order: Integers, size: int) -> Iterator[torch.Tensor]:
        """See `Pixels.minibatches`."""
        ahead: deque[Future[torch.Tensor]] = deque()
        with ThreadPoolExecutor(_READERS) as readers:
            try:
                for start in range(0, len(order), size):
                    index = torch.from_numpy(order[start : start + size])
                    ahead.append(readers.submit(self._gathered, index))
                    if len(ahead) > _AHEAD:
                        yield ahead.popleft().result().to(self.device, non_blocking=True)
                while ahead:
                    yield ahead.popleft().result().to(self.device, non_blocking=True)
            finally:
                for future in ahead:
                    future.cancel()

    def _gathered(self, index: torch.Tensor) -> torch.Tensor:
        """On the host, in memory that the device can copy from while it computes."""
        pinned = self.device.type == "cuda"
        rows = torch.empty((len(index), *self.shape), dtype=self.images.dtype, pin_memory=pinned)
        return torch.index_select(self.images, 0, index, out=rows)
