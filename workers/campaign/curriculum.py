"""The order of training: partitions of a run's subset that take turns, as a recipe's `curriculum` declares them."""

from typing import Annotated

from pydantic import Field

from workers.campaign.field_types import Epochs, Frozen
from workers.campaign.score_column import ScoreColumn


class Curriculum(Frozen):
    """Partitions of each run's subset take turns: a number of epochs shows one of them alone, the next ones another.

    Toneva et al., ICLR 2019, train on two halves in turn: random ones, or never forgotten and forgotten examples.
    """

    partitions: Annotated[int, Field(ge=2, le=100)] = 2
    """Parts of equal size; where the subset does not divide evenly, an epoch leaves out one example of a larger part,
    another one each time."""
    epochs: Epochs = 1
    """Of one turn. The recipe's `epochs` are those of all turns together."""
    scores: ScoreColumn | None = None
    """The parts in ascending order of a score, so that the first turn has the lowest, equal ones in random order. Left
    out: random parts, drawn for each run."""

    def partition_of(self, epoch: int) -> int:
        """The partition (from 0) that an epoch (from 0) shows."""
        return epoch // self.epochs % self.partitions
