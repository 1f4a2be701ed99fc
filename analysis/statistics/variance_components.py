"""Variance components of a one-way random effects model, by the method of moments.

A value y_ck of run k of subset c is mu + a_c + e_ck: a_c is what the subset changes, e_ck what the seed of training
does. With G subsets, n_c runs of subset c, n = sum n_c, means m_c and m,

    MSB = sum_c n_c (m_c - m)^2 / (G - 1)            MSW = sum_ck (y_ck - m_c)^2 / (n - G)
    seed = MSW        subset = (MSB - MSW) / n_0     n_0 = (n - sum_c n_c^2 / n) / (G - 1)

S. R. Searle, G. Casella and C. E. McCulloch, "Variance components", 1992, ch. 3. Both are unbiased, whatever the
distributions; so `subset` may be negative where it is small. Sums are taken of values less those of the first run, so
that squares do not cancel.
"""

from dataclasses import dataclass

import numpy as np

from workers.common.arrays import Bools, Floats, Integers


@dataclass(frozen=True)
class Components:
    """Arrays [...]: the components float64, NaN where the runs do not tell them; `subsets` and `runs` int64."""

    subset: Floats
    seed: Floats
    mean: Floats
    subsets: Integers
    runs: Integers


class ComponentSums:
    """Sums over subsets by group of them, for the components of arrays of one shape, all and without each group."""

    def __init__(self, groups: int, width: int) -> None:
        self.groups, self.subsets = groups, 0
        """Groups, and subsets that were added."""
        self._subsets, self._runs, self._squared_runs = np.zeros((3, groups, width), dtype=np.int64)
        self._total, self._squares, self._between = np.zeros((3, groups, width))
        self._origin: Floats | None = None

    def add(self, group: int, values: Floats, used: Bools) -> None:
        """The runs of one subset: values float64[n_c, width], of which bool[n_c, width] are used."""
        self.subsets += 1
        if self._origin is None:
            self._origin = np.where(np.isfinite(values[0]), values[0], 0.0)
        moved = np.where(used, values - self._origin, 0.0)
        count, total = used.sum(axis=0), moved.sum(axis=0)
        self._subsets[group] += count > 0
        self._runs[group] += count
        self._squared_runs[group] += count * count
        self._total[group] += total
        self._squares[group] += (moved**2).sum(axis=0)
        self._between[group] += total**2 / np.maximum(count, 1)

    def all(self) -> Components:
        """The components of every subset, [width]."""
        return self._components(np.ones((1, len(self._runs)), dtype=bool), squeeze=True)

    def without_each(self) -> Components:
        """Those without each group of subsets, [groups, width]."""
        return self._components(~np.eye(len(self._runs), dtype=bool), squeeze=False)

    def _components(self, chosen: Bools, *, squeeze: bool) -> Components:
        def over(sums: Floats | Integers) -> Floats:
            total: Floats = chosen.astype(np.float64) @ sums
            return total[0] if squeeze else total

        subsets, runs, squared = (over(each) for each in (self._subsets, self._runs, self._squared_runs))
        total, squares, between = (over(each) for each in (self._total, self._squares, self._between))
        n = np.maximum(runs, 1)
        within = np.where(runs > subsets, np.maximum(squares - between, 0) / np.maximum(runs - subsets, 1), np.nan)
        enough = subsets > 1
        mean_square = np.maximum(between - total**2 / n, 0) / np.maximum(subsets - 1, 1)
        size = np.where(enough, (n - squared / n) / np.maximum(subsets - 1, 1), 1.0)
        origin = 0.0 if self._origin is None else self._origin
        return Components(
            subset=np.where(enough, (mean_square - within) / size, np.nan),
            seed=within,
            mean=np.where(runs > 0, total / n + origin, np.nan),
            subsets=subsets.astype(np.int64),
            runs=runs.astype(np.int64),
        )
