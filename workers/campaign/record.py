"""What a campaign stores of each run: its `record` part."""

from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from workers.campaign.field_types import Frozen
from workers.campaign.probes import Probes

Output = Literal["margin", "loss", "probability", "prediction"]
"""What is stored of a model's logits for an example, in evaluation mode, beside whether the label is predicted."""


def _in_order(outputs: tuple[Output, ...]) -> tuple[Output, ...]:
    """In the order of `Output`, so that the order in a file is no part of the identity."""
    if len(set(outputs)) != len(outputs):
        raise ValueError(f"must be all different, got {list(outputs)}")
    return tuple(output for output in get_args(Output) if output in outputs)


class Record(Frozen):
    """What is stored of each run: which epochs' correctness, and what beside it."""

    epochs: Literal["final", "all"] | Annotated[int, Field(ge=1, le=100_000)] = "final"
    """`final`; `all`; or a number k for every k-th epoch. The last epoch is always stored."""
    margins: bool = False
    """Also each test example's margin: its class's logit less the largest other one, 2 bytes a value."""
    outputs: Annotated[tuple[Output, ...], Field(strict=False), AfterValidator(_in_order)] = ()
    """Also these outputs for every training example, in the subset or not, and every test example: `margin`, `loss`
    (cross-entropy), `probability` (of the label) and `prediction` (the class); 2 bytes a value."""
    presentations: bool = False
    """Also whether each example was predicted right whenever training showed it, before the update: 2 bits an epoch."""
    probabilities: bool = False
    """Beside that the label's and the largest probability, and the loss, at each presentation: 6 bytes an epoch."""
    presented_margin: bool = False
    """Beside that the margin at each presentation: the label's logit less the largest other one, 2 bytes an epoch."""
    training_statistics: bool = False
    """Also what the presentations of each training example come to: its mean margin (AUM), mean and standard deviation
    of the label's probability, mean loss, and EL2N; 20 bytes an evaluation, whatever the number of epochs."""
    probes: Probes | None = None
    """Measurements of some runs' models: where in the network memorization is (`docs/localization.md`)."""

    @model_validator(mode="after")
    def _margins_are_requested_once(self) -> "Record":
        if self.margins and "margin" in self.outputs:
            raise ValueError("margins must be left out where outputs has margin, which includes the test examples'")
        return self

    @model_validator(mode="after")
    def _values_are_of_presentations(self) -> "Record":
        for name in ("probabilities", "presented_margin"):
            if getattr(self, name) and not self.presentations:
                raise ValueError(f"{name} needs presentations to be true")
        return self
