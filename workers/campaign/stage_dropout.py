"""Dropout behind every stage of a model: tied to examples, or one of the two that it is compared with."""

from typing import Annotated, Literal

from pydantic import Field

from workers.campaign.field_types import Fraction, Frozen

Share = Annotated[float, Field(gt=0, le=1)]


class ExampleTied(Frozen):
    """Example-tied dropout (Maini et al. 2023, section 6): each example trains channels of its own.

    The first floor(p_gen C) of a stage's C channels are on for every example, the generalization channels. Each other
    one, a memorization channel, is on for an example with probability p_mem, drawn once and for good.
    """

    name: Literal["example-tied"]
    p_gen: Share = 0.2
    p_mem: Fraction = 0.1
    factor: Literal["published", "exact", "none"] | Annotated[float, Field(gt=0, le=1000)] = "published"
    """By which generalization channels are multiplied where memorization channels are dropped. `published`: (p_gen +
    p_mem) / p_gen; `exact`: the expected share of channels in training over p_gen, 1 + p_mem (1 - p_gen) / p_gen;
    `none`: 1."""

    @property
    def factor_value(self) -> float:
        """`factor` as a number."""
        if isinstance(self.factor, float):
            return self.factor
        rest = {"published": self.p_mem, "exact": self.p_mem * (1 - self.p_gen), "none": 0.0}[self.factor]
        return 1 + rest / self.p_gen


class StandardDropout(Frozen):
    """Dropout of whole channels (Srivastava et al., JMLR 2014), drawn anew for each example of each minibatch."""

    name: Literal["standard"]
    keep: Share = 0.2
    """Probability that a channel is on in training, where it is multiplied by 1 / keep."""


class SparseChannels(Frozen):
    """A sparse network: of each stage floor(keep C) channels, the same in all runs, in training and in evaluation."""

    name: Literal["sparse"]
    keep: Share = 0.2
    """Share of the channels that are on; these are multiplied by 1 / keep."""


StageDropout = ExampleTied | StandardDropout | SparseChannels
