"""Probes: measurements of a run's model beside correctness, as a campaign's `record.probes` declares them."""

from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field, JsonValue, model_validator

from workers.campaign.field_types import Epochs, Frozen, ImportPath
from workers.campaign.score_column import ScoreColumn

if TYPE_CHECKING:
    from workers.common.arrays import Bools, Floats


class ScoreSplit(Frozen):
    """Two groups of training examples by a score, such as mem or a C-score: typical and atypical ones."""

    scores: ScoreColumn
    below: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Examples with a lower score are atypical, as of C-scores."""
    above: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Examples with a higher score are atypical, as of mem."""

    @model_validator(mode="after")
    def _one_threshold(self) -> "ScoreSplit":
        if (self.below is None) == (self.above is None):
            which = "none" if self.below is None else "both"
            raise ValueError(f"must have one of below and above, the score beyond which examples are atypical: {which}")
        return self

    def __str__(self) -> str:
        return f"above {self.above:g}" if self.below is None else f"below {self.below:g}"

    def members(self, scores: "Floats") -> "Bools":
        """bool[N] of float64[N] scores: the atypical examples."""
        if self.above is not None:
            return scores > self.above
        return scores < (self.below or 0.0)


def group_names(split: ScoreSplit | None) -> tuple[str, str]:
    """Of the training examples outside the split, and in it; None: of those that are told apart by label noise."""
    return ("clean", "noisy") if split is None else ("typical", "atypical")


class RewindingProbe(Frozen):
    """Layer rewinding (Maini et al. 2023, section 4.2): one layer's weights set back to an earlier epoch's."""

    every: Epochs = 10
    """Layers are rewound to epoch 0, to every such epoch, and to the last one."""


class RetrainingProbe(Frozen):
    """Layer retraining (Maini et al. 2023, section 4.3): one layer trained anew on the clean examples alone."""

    epochs: Epochs = 20
    learning_rate: Annotated[float, Field(gt=0, le=100)] = 0.1
    """The peak of the one-cycle schedule, reached after half of the epochs."""


class NeuronsProbe(Frozen):
    """Units to flip a prediction (Maini et al. 2023, section 5): a greedy search by activations."""

    examples: Annotated[int, Field(ge=2, le=100_000)] = 200
    """Examples of the run's subset, drawn from the run's own stream: half of them from the split, as far as it has."""
    most: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Units after which the search ends without a flip (censored)."""
    copies: Annotated[int, Field(ge=1, le=1000)] = 5
    """Noisy copies of the example whose mean logits decide."""
    noise: Annotated[float, Field(ge=0, le=10)] = 0.01
    """L2 norm of a copy's noise over that of the input."""
    batch_size: Annotated[int, Field(ge=1, le=100_000)] = 512
    """Training examples of the random minibatch whose loss is to be kept."""
    evaluated: Annotated[int, Field(ge=1, le=1_000_000)] = 500
    """Examples of each group, at most, on which the edited model's accuracy is measured."""


class CustomProbe(Frozen):
    """`package.module:Class`, called with `options`, returns a `workers.training.probes.Probe`."""

    name: ImportPath
    options: dict[str, JsonValue] = Field(default_factory=dict)


def _distinct(probes: tuple[CustomProbe, ...]) -> tuple[CustomProbe, ...]:
    names = [probe.name for probe in probes]
    if len(set(names)) != len(names):
        raise ValueError(f"must be probes that are all different, got {', '.join(names)}")
    return probes


class Probes(Frozen):
    """Which measurements are taken of which runs."""

    repetitions: Annotated[int, Field(ge=1, le=1_000_000)] = 3
    """Of each ratio the runs with a smaller repetition are measured."""
    gradients: bool = False
    """Gradient accounting: of each epoch and tensor the summed gradients of the two groups: norms and product."""
    rewinding: RewindingProbe | None = None
    retraining: RetrainingProbe | None = None
    neurons: NeuronsProbe | None = None
    dropout: bool = False
    """Correctness in the modes of example-tied dropout, which the model must have: what is lost by dropping."""
    split: ScoreSplit | None = None
    """The groups that are compared; without it examples with the data set's label, and with another (`label_noise`)."""
    custom: Annotated[tuple[CustomProbe, ...], Field(strict=False, max_length=20), AfterValidator(_distinct)] = ()

    @property
    def needs_groups(self) -> bool:
        """Whether two groups of examples are compared: a probe of the user's own may do without."""
        return bool(self.gradients or self.rewinding or self.retraining or self.neurons)

    @model_validator(mode="after")
    def _not_empty(self) -> "Probes":
        if not (self.needs_groups or self.dropout or self.custom):
            raise ValueError("names no measurement: gradients, rewinding, retraining, neurons, dropout or custom")
        return self
