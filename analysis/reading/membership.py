"""Centred subset membership of runs as regressors, in blocks that fit in memory."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from workers.common.arrays import Bools, Floats

_VALUES = 1 << 22
"""Values that are floating point at a time: 32 MB."""


@dataclass(frozen=True)
class Membership:
    """x_k(i) = 1[i in S_k] - mean(i): `subsets` is bool[runs, N], `mean` float64[N], that of the runs of a fit."""

    subsets: Bools
    mean: Floats

    @classmethod
    def centred(cls, subsets: Bools) -> "Membership":
        """Centred at the mean over these runs themselves."""
        return cls(subsets, subsets.mean(axis=0))

    def dense(self) -> Floats:
        """x as float64[runs, N], 8 bytes a value."""
        return self.subsets - self.mean

    def gram(self) -> Floats:
        """x x^T: float64[runs, runs]."""
        total = np.zeros((len(self.subsets), len(self.subsets)))
        for _, block in self._blocks():
            total += block @ block.T
        return total

    def combine(self, factors: Floats) -> Floats:
        """Sums of runs: float64[runs, B] to float64[B, N], factors^T x."""
        product = np.empty((factors.shape[1], self.subsets.shape[1]))
        for part, block in self._blocks():
            np.matmul(factors.T, block, out=product[:, part])
        return product

    def predict(self, weights: Floats) -> Floats:
        """Sums of weights over each run's subset, less their mean: float64[B, N] to float64[runs, B], x weights^T."""
        total = np.zeros((len(self.subsets), len(weights)))
        for part, block in self._blocks():
            total += block @ weights[:, part].T
        return total

    def _blocks(self) -> Iterator[tuple[slice, Floats]]:
        width = max(1, _VALUES // max(1, len(self.subsets)))
        for start in range(0, self.subsets.shape[1], width):
            part = slice(start, start + width)
            yield part, self.subsets[:, part] - self.mean[part]
