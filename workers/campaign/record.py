"""What a campaign stores of each run: its `record` part."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from workers.campaign.probes import Probes
from workers.campaign.recipe import Frozen


class Record(Frozen):
    """What is stored of each run: which epochs' correctness, and what beside it."""

    epochs: Literal["final", "all"] | Annotated[int, Field(ge=1, le=100_000)] = "final"
    """`final`; `all`; or a number k for every k-th epoch. The last epoch is always stored."""
    margins: bool = False
    """Also each test example's margin: its class's logit less the largest other one, 2 bytes a value."""
    presentations: bool = False
    """Also whether each example was predicted right whenever training showed it, before the update: 2 bits an epoch."""
    probabilities: bool = False
    """Beside that the label's and the largest probability, and the loss, at each presentation: 6 bytes an epoch."""
    probes: Probes | None = None
    """Measurements of some runs' models: where in the network memorization is (`docs/localization.md`)."""

    @model_validator(mode="after")
    def _probabilities_are_of_presentations(self) -> "Record":
        if self.probabilities and not self.presentations:
            raise ValueError("probabilities needs presentations to be true")
        return self
