"""Means over runs and their standard errors, run by run: SE = sd / sqrt(n), sd with n - 1 in the denominator."""

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
        self._mean, self._squares = np.zeros((2, *shape))

    def add(self, values: npt.NDArray[np.floating]) -> None:
        """One more run's values; NaN where it has none."""
        some = ~np.isnan(values)
        self.n += some
        change = np.where(some, values - self._mean, 0.0)
        self._mean += change / np.maximum(self.n, 1)
        self._squares += change * np.where(some, values - self._mean, 0.0)

    @property
    def mean(self) -> Floats:
        """NaN where no run had a value."""
        return np.where(self.n > 0, self._mean, np.nan)

    @property
    def squares(self) -> Floats:
        """The sum of squared deviations from the mean."""
        copy: Floats = self._squares.copy()
        return copy

    @property
    def sd(self) -> Floats:
        """NaN where fewer than two runs had a value."""
        return np.sqrt(np.where(self.n > 1, self._squares / np.maximum(self.n - 1, 1), np.nan))

    @property
    def se(self) -> Floats:
        """Of the mean; NaN where fewer than two runs had a value."""
        return self.sd / np.sqrt(np.maximum(self.n, 1))
