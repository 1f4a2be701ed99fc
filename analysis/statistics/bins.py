"""Histogram bins of scores."""

import numpy as np
import numpy.typing as npt

from workers.common.arrays import Floats

MEM_BINS = 18
"""Of equal width from -1 to 1, as in Feldman & Zhang (NeurIPS 2020)."""
CSCORE_BINS = 20
"""Of equal width from 0 to 1."""


def histogram(values: Floats, bins: int, low: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """How many of the finite values lie in each bin of equal width from `low` (a whole number) to 1, and its edges.

    int64[bins] and float64[bins + 1]. A value at an edge is in the bin above it, at 1 in the last. The edges are
    rounded once, as the values are, so that a value that is exactly at an edge lies there.
    """
    edges = np.asarray((low * bins + (1 - low) * np.arange(bins + 1)) / bins)
    place = bins_of(values[np.isfinite(values)], edges)
    return np.bincount(place[(place >= 0) & (place < bins)], minlength=bins), edges


def bins_of(values: Floats, edges: Floats) -> npt.NDArray[np.int64]:
    """int64: the bin of each value by the edges; -1 under the first, len(edges) - 1 over the last."""
    place = np.searchsorted(edges, values, side="right") - 1
    return np.where(values == edges[-1], len(edges) - 2, place)
