"""Selected pairs of a test and a training example."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.reading.bits import RatioBits
from workers.common.arrays import Floats, Integers


@dataclass(frozen=True)
class Pairs:
    """int64 `tests` and `examples` (ids), int64 `correct_in` (runs of A_i right on z), float64 `infl`."""

    tests: Integers
    examples: Integers
    correct_in: Integers
    infl: Floats

    def __len__(self) -> int:
        return len(self.tests)

    def take(self, chosen: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> "Pairs":
        """The pairs at these positions, or where a mask is true."""
        return Pairs(self.tests[chosen], self.examples[chosen], self.correct_in[chosen], self.infl[chosen])

    def ranked(self) -> "Pairs":
        """By test example; then largest influence first; then smaller example id: one order, whatever the tiles."""
        return self.take(np.lexsort((self.examples, -self.infl, self.tests)))

    def between_different(self, bits: RatioBits) -> "Pairs":
        """Without pairs of a training example with itself, whose influence is memorization."""
        return self.take(self.tests != self.examples) if bits.affected == "train" else self

    def ranks(self) -> Integers:
        """int64, from 0: the place of each of the ranked pairs among those of its test example."""
        return np.arange(len(self)) - np.searchsorted(self.tests, self.tests)

    @classmethod
    def join(cls, parts: list["Pairs"]) -> "Pairs":
        """Pairs of several tiles."""
        none = cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
        columns = zip(
            *((pairs.tests, pairs.examples, pairs.correct_in, pairs.infl) for pairs in [none, *parts]), strict=True
        )
        return cls(*(np.concatenate(column) for column in columns))
