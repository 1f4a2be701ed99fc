"""Means over runs and their standard errors, run by run: SE = sd / sqrt(n), sd with n - 1 in the denominator.

Runs that share a subset are one value, their mean, in mean and deviation: they are not independent.
"""

import numpy as np
import numpy.typing as npt

from workers.common.arrays import Floats, Integers


class RunMoments:
    """Mean and standard deviation over runs of arrays of one shape, by Welford's updates.

    They take no memory per run, and equal values give a deviation of exactly 0. B. P. Welford, "Note on a method for
    calculating corrected sums of squares and products", Technometrics 1962.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.n: Integers = np.zeros(shape, dtype=np.int64)
        """Runs that had a value."""
        self._units: Integers = np.zeros(shape, dtype=np.int64)
        self._mean, self._squares = np.zeros((2, *shape))
        self._open: _OpenGroup | None = None

    def add(self, values: npt.NDArray[np.floating], group: int | None = None) -> None:
        """One more run's values; NaN where it has none.

        `group` is the number of its subset where runs share subsets, whose runs are added one after the other.
        """
        self.n += ~np.isnan(values)
        if group is None:
            self._merge(values)
            return
        if self._open is not None and self._open.group != group:
            self._close()
        self._open = self._open or _OpenGroup(group, self.n.shape)
        self._open.add(values)

    def _close(self) -> None:
        """Count the runs of the last subset."""
        if self._open is not None:
            self._merge(self._open.mean())
            self._open = None

    def _merge(self, values: npt.NDArray[np.floating]) -> None:
        some = ~np.isnan(values)
        self._units += some
        change = np.where(some, values - self._mean, 0.0)
        self._mean += change / np.maximum(self._units, 1)
        self._squares += change * np.where(some, values - self._mean, 0.0)

    @property
    def units(self) -> Integers:
        """Independent values: subsets where runs share them, else runs."""
        self._close()
        return self._units

    @property
    def mean(self) -> Floats:
        """NaN where no run had a value."""
        return np.where(self.units > 0, self._mean, np.nan)

    @property
    def squares(self) -> Floats:
        """The sum of squared deviations from the mean."""
        self._close()
        copy: Floats = self._squares.copy()
        return copy

    @property
    def sd(self) -> Floats:
        """NaN where there are fewer than two independent values."""
        return np.sqrt(np.where(self.units > 1, self._squares / np.maximum(self._units - 1, 1), np.nan))

    @property
    def se(self) -> Floats:
        """Of the mean; NaN where there are fewer than two independent values."""
        return self.sd / np.sqrt(np.maximum(self.units, 1))


class _OpenGroup:
    """The runs of one subset so far."""

    def __init__(self, group: int, shape: tuple[int, ...]) -> None:
        self.group = group
        self._total = np.zeros(shape)
        self._runs = np.zeros(shape, dtype=np.int64)

    def add(self, values: npt.NDArray[np.floating]) -> None:
        some = ~np.isnan(values)
        self._total += np.where(some, values, 0.0)
        self._runs += some

    def mean(self) -> Floats:
        return np.where(self._runs > 0, self._total / np.maximum(self._runs, 1), np.nan)
