"""Kernel densities of examples: pairwise-distance proxies of the C-score.

Jiang et al., "Characterizing Structural Regularities of Labeled Data in Overparameterized Models" (ICML 2021), with
K(x, x') = exp(-||x - x'||^2 / h^2) and h half the mean distance of two examples:
  C(i)     = 1/N sum_j K(x_i, x_j)                              the density
  C^L(i)   = 1/N sum_j 1[y_j = y_i] K(x_i, x_j)                 of its own class
  C^+-L(i) = 1/N sum_j (2 1[y_j = y_i] - 1) K(x_i, x_j)         of its own class less all others, 2 C^L - C
The sums have the term j = i, as in the paper: it adds 1/N to each score of each example, so ranks do not depend on it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from workers.common.arrays import Floats, Integers
from workers.common.progress import ProgressCallback

BANDWIDTH_EXAMPLES = 8192
"""Of up to so many examples every pair has its part in the bandwidth; of more, the pairs of so many drawn at random."""

_TILE = 2048
"""Examples on a side of a tile of pairs: large products run at full speed, and a tile stays at 16 MB."""
_BLOCK_BYTES = 1 << 27
"""Long vectors make tiles smaller: so many bytes has a tile's block of vectors at most."""
_CACHE_BYTES = 1 << 30
"""Blocks of vectors kept, so that they need not be read again for every tile."""


@dataclass(frozen=True)
class Vectors:
    """`count` vectors of one length D, read where they are needed: the whole never has to fit into memory.

    `read` takes int64[n] and gives the vectors at these places, float32[n, D], on the device that is to compute.
    """

    count: int
    read: Callable[[Integers], torch.Tensor]

    @classmethod
    def of(cls, features: torch.Tensor) -> "Vectors":
        """The rows of a tensor [N, ...], flattened, where the tensor is."""
        return cls(
            len(features), lambda index: features[torch.from_numpy(index).to(features.device)].flatten(1).float()
        )


@dataclass(frozen=True)
class KernelDensities:
    """float64[N] each: C, C^L, and the bandwidth h in the features' own unit, with its standard error.

    The standard error is 0 where every pair had its part.
    """

    plain: Floats
    same: Floats
    bandwidth: float
    bandwidth_se: float

    @property
    def relative(self) -> Floats:
        """C^+-L, float64[N]."""
        return 2 * self.same - self.plain


def kernel_densities(
    vectors: Vectors,
    labels: npt.NDArray[np.int64],
    *,
    bandwidth_examples: int = BANDWIDTH_EXAMPLES,
    tile: int | None = None,
    on_tile: ProgressCallback = lambda done, total: None,
) -> KernelDensities:
    """The densities of all N examples in the space of their vectors, `labels` being int64[N].

    h is half the mean Euclidean distance over the pairs of different examples; of more than `bandwidth_examples`, over
    the pairs of so many drawn uniformly by a fixed seed. Where all distances are 0, h is 0 and K is 1. Takes 1/2 N^2
    products of vectors, in tiles of `tile` examples a side (by default 2,048, fewer where vectors are long).

    Vectors are centred and scaled to unit mean square first; then ||x - y||^2 = ||x||^2 + ||y||^2 - 2xy in float32,
    held at 0 or more, so that the exponent is off by about 1e-7 (||x||^2 + ||y||^2) / h^2. A tile's row is summed in
    float32, tiles in float64. Results of other tiles, threads and devices differ by such rounding. Raises ValueError
    where labels do not fit or a vector is not finite.
    """
    count = vectors.count
    if labels.shape != (count,) or count == 0:
        raise ValueError(
            f"labels must be one for each of the {count} (at least one) examples, got {list(labels.shape)}"
        )
    with _full_products():
        standard = _standardized(vectors)
        tile = tile or standard.tile
        sample = np.arange(count)
        if count > bandwidth_examples:
            sample = np.sort(np.random.default_rng(0).choice(count, bandwidth_examples, replace=False))
        bandwidth, error = _bandwidth(standard, sample, tile)
        # Of a class after the other, few tiles hold pairs of one class.
        order = np.argsort(labels, kind="stable")
        sums = _kernel_sums(standard, order, labels[order], bandwidth, tile, on_tile)
    plain, same = np.empty(count), np.empty(count)
    plain[order], same[order] = sums / count
    return KernelDensities(plain, same, bandwidth * standard.scale, error * standard.scale)


@dataclass(frozen=True)
class _Standardized:
    """Vectors less `centre` (float64[D]), over `scale`: of a size at which float32 neither over- nor underflows."""

    vectors: Vectors
    centre: torch.Tensor
    scale: float

    @property
    def tile(self) -> int:
        """Examples on a side of a tile."""
        return min(_TILE, max(1, _BLOCK_BYTES // (4 * len(self.centre))))

    def read(self, index: Integers) -> tuple[torch.Tensor, torch.Tensor]:
        """The vectors at int64[n], float32[n, D], and their squared lengths, float32[n]."""
        block = ((self.vectors.read(index) - self.centre) / (self.scale or 1.0)).float()
        return block, block.square().sum(dim=1)


def _standardized(vectors: Vectors) -> _Standardized:
    # Measured from the first vector: where all are equal, what is left is 0 and not rounding.
    first = vectors.read(np.zeros(1, dtype=np.int64))[0].double()
    rows = min(_TILE, max(1, _BLOCK_BYTES // (8 * len(first))))
    total, squares = torch.zeros_like(first), torch.zeros((), dtype=torch.float64, device=first.device)
    for start in range(0, vectors.count, rows):
        block = vectors.read(np.arange(start, min(start + rows, vectors.count))) - first
        total += block.sum(dim=0)
        squares += block.square().sum()
    mean = total / vectors.count
    variance = float(squares / vectors.count - mean.square().sum())
    if not np.isfinite(variance):
        raise ValueError("vectors must be finite, got NaN, infinity, or a length above 1e150")
    return _Standardized(vectors, first + mean, max(variance, 0.0) ** 0.5)


def _bandwidth(standard: _Standardized, sample: Integers, tile: int) -> tuple[float, float]:
    """Half the mean distance over the sample's pairs, and its standard error, in standardized units.

    The mean of a pairwise quantity has the error of 2/sqrt(n) standard deviations of the n examples' own means
    (Hoeffding, 1948), less as the sample comes to be all of the examples.
    """
    count = len(sample)
    if count < 2:
        return 0.0, 0.0
    sums = torch.zeros(count, dtype=torch.float64, device=standard.centre.device)
    for rows, columns, squared in _distances(standard, sample, tile):
        _add(sums, squared.sqrt_(), rows, columns)
    means = (sums / (count - 1)).cpu().numpy()
    error = 2 * means.std(ddof=1) / np.sqrt(count) * np.sqrt(1 - count / standard.vectors.count)
    return float(means.mean() / 2), float(error / 2)


def _kernel_sums(
    standard: _Standardized,
    order: Integers,
    labels: npt.NDArray[np.int64],
    bandwidth: float,
    tile: int,
    on_tile: ProgressCallback,
) -> Floats:
    """float64[2, N]: each example's sums of K over all examples and over those of its class, all in this order."""
    device = standard.centre.device
    sums = torch.zeros((2, len(order)), dtype=torch.float64, device=device)
    device_labels = torch.from_numpy(labels).to(device)
    tiles = -(-len(order) // tile)
    for done, (rows, columns, squared) in enumerate(_distances(standard, order, tile), start=1):
        kernel = squared.mul_(-1 / bandwidth**2).exp_() if bandwidth else (squared == 0).float()
        _add(sums[0], kernel, rows, columns)
        if labels[rows.stop - 1] >= labels[columns.start]:
            _add(sums[1], kernel.mul_(device_labels[rows, None] == device_labels[columns]), rows, columns)
        on_tile(done, tiles * (tiles + 1) // 2)
    kernel_sums: Floats = sums.cpu().numpy()
    return kernel_sums


def _add(sums: torch.Tensor, tile: torch.Tensor, rows: slice, columns: slice) -> None:
    """Add a tile to the sums of its rows, and, standing for its mirror image, to those of its columns."""
    sums[rows] += tile.sum(dim=1)
    if rows != columns:
        sums[columns] += tile.sum(dim=0)


def _distances(standard: _Standardized, order: Integers, tile: int) -> Iterator[tuple[slice, slice, torch.Tensor]]:
    """(rows, columns, float32 squared distances) of the tiles on and above the diagonal, for the caller to change."""
    count, width = len(order), len(standard.centre)
    starts = range(0, count, tile)

    @lru_cache(maxsize=max(2, _CACHE_BYTES // (4 * width * tile)))
    def block(start: int) -> tuple[torch.Tensor, torch.Tensor]:
        return standard.read(order[start : start + tile])

    for top in starts:
        x, x_squares = block(top)
        for left in starts[top // tile :]:
            y, y_squares = block(left)
            squared = torch.addmm(y_squares, x, y.T, alpha=-2).add_(x_squares[:, None]).clamp_(min=0)
            if top == left:
                squared.fill_diagonal_(0)
            yield slice(top, top + len(x)), slice(left, left + len(y)), squared


@contextmanager
def _full_products() -> Iterator[None]:
    """float32 products that are not rounded to shorter formats, whatever the process has chosen."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
