"""The order of training: partitions of a run's subset that are trained in turn, the `curriculum` of a recipe."""

from typing import Annotated

from pydantic import Field

from workers.campaign.field_types import Epochs, Frozen
from workers.campaign.score_column import ScoreColumn


class Curriculum(Frozen):
    """Divides each run's subset into partitions and trains on one at a time, for a number of epochs each.

    Toneva et al., ICLR 2019, train on two halves in turn: random ones, or never forgotten and forgotten examples.
    """

    partitions: Annotated[int, Field(ge=2, le=100)] = 2
    """Of equal size. Where the subset does not divide evenly, an epoch leaves out one example of a larger partition,
    a different one each time."""
    epochs: Epochs = 1
    """Epochs on one partition before the next. `recipe.epochs` is the total."""
    scores: ScoreColumn | None = None
    """Partitions in ascending order of a score, so that the first one has the lowest; ties are in random order. Left
    out: random partitions, drawn for each run."""

    def partition_of(self, epoch: int) -> int:
        """The partition (from 0) that an epoch (from 0) shows."""
        return epoch // self.epochs % self.partitions
