"""The training recipe: optimizer, learning-rate schedule, initialization, augmentation."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from workers.campaign.curriculum import Curriculum
from workers.campaign.field_types import Epochs, Fraction, Frozen

LearningRate = Annotated[float, Field(gt=0, le=1e6)]
WeightDecay = Annotated[float, Field(ge=0, le=1e3)]


class ElementwiseOptimizer(Frozen):
    """What optimizers have that update every weight by itself."""

    norm_bias_factor: Annotated[float, Field(ge=1e-6, le=1e6)] = 1.0
    """Of the learning rate, for the biases of batch norms. Their weight decay is divided by it, so that they decay no
    faster (`bias_scaler` of Jordan, arXiv:2404.00498, section 3.4)."""


class SGD(ElementwiseOptimizer):
    """Stochastic gradient descent: v <- momentum v + g; w <- w - rate v (PyTorch's form, equal to the JAX scripts')."""

    name: Literal["sgd"] = "sgd"
    learning_rate: LearningRate = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    weight_decay: WeightDecay = 0.0

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> "SGD":
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum greater than 0")
        return self


class AdamOptimizer(ElementwiseOptimizer):
    """What Adam and AdamW have in common: the gradient's mean over the root of its mean square, both corrected for
    their start at 0 (Kingma & Ba, ICLR 2015)."""

    name: Literal["adam", "adamw"]
    learning_rate: LearningRate = 1e-3
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    epsilon: Annotated[float, Field(gt=0, le=1)] = 1e-8
    weight_decay: WeightDecay = 0.0


class Adam(AdamOptimizer):
    """Adam whose weight decay is an L2 penalty, g <- g + weight_decay w, in the form of `torch.optim.Adam`."""

    name: Literal["adam"]


class AdamW(AdamOptimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter, ICLR 2019)."""

    name: Literal["adamw"]
    weight_decay: WeightDecay = 0.01


class Muon(Frozen):
    """Momentum orthogonalized by Newton-Schulz iterations (Jordan et al., 2024, kellerjordan.github.io/posts/muon).

    For the weights of hidden layers: matrices, and convolutions as matrices [out, rest]. `torch.optim.Muon`'s form and
    defaults. What is not such a matrix, and the head, is updated by `others`.
    """

    name: Literal["muon"]
    learning_rate: LearningRate = 1e-3
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.95
    nesterov: bool = True
    weight_decay: WeightDecay = 0.1
    """Decoupled: w <- (1 - rate weight_decay) w."""
    iterations: Annotated[int, Field(ge=1, lt=100)] = 5
    epsilon: Annotated[float, Field(gt=0, le=1)] = 1e-7
    """The least norm that an update is divided by."""
    rate_scaling: Literal["original", "match_rms_adamw", "spectral_unclamped"] = "original"
    """Of a matrix [A, B], as torch's `adjust_lr_fn`: sqrt(max(1, A/B)), 0.2 sqrt(max(A, B)) or sqrt(A/B)."""
    others: Annotated[SGD | Adam | AdamW, Field(discriminator="name")] = AdamW(name="adamw")
    """Of all other weights. The schedule is that of both rates."""


class ConstantSchedule(Frozen):
    """The same learning rate at every step."""

    name: Literal["constant"] = "constant"


class StepSchedule(Frozen):
    """The rate is multiplied by `factor` at the start of each epoch (counted from 0) in `milestones`."""

    name: Literal["step"]
    milestones: Annotated[tuple[Epochs, ...], Field(strict=False, max_length=1000)]
    factor: Annotated[float, Field(gt=0, le=1)] = 0.1


class CosineSchedule(Frozen):
    """Linear warm-up from 0, then half a cosine down to `final` times the rate."""

    name: Literal["cosine"]
    warmup_epochs: Annotated[float, Field(ge=0, le=100_000)] = 0.0
    final: Fraction = 0.0


class OneCycleSchedule(Frozen):
    """Cosine up from rate/`start_divisor` over the first `peak` share of steps, then down to that/`final_divisor`."""

    name: Literal["one-cycle"]
    peak: Annotated[float, Field(gt=0, lt=1)] = 0.3
    start_divisor: Annotated[float, Field(ge=1, le=1e9)] = 25.0
    final_divisor: Annotated[float, Field(ge=1, le=1e9)] = 1e4


class TriangularSchedule(Frozen):
    """Linear from `start` times the rate up to the rate at `peak_epoch`, linear down to `final` times the rate at the
    end (the datamodels recipe starts and ends at 0)."""

    name: Literal["triangular"]
    peak_epoch: Annotated[float, Field(ge=0, le=100_000)]
    start: Fraction = 0.0
    final: Fraction = 0.0


class Lookahead(Frozen):
    """Slow weights, which follow the weights and replace them every few updates, and are what a run ends with (Zhang et
    al., NeurIPS 2019, in the form of Jordan, arXiv:2404.00498, section 3.4).

    After every `every` updates, with t the share of all updates done: slow <- keep slow + (1 - keep) w and w <- slow,
    keep = decay^every t^power. Running statistics of batch norms take part, as weights do.
    """

    every: Annotated[int, Field(ge=1, le=1_000_000)] = 5
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """Per update, at the end of training."""
    power: Annotated[float, Field(ge=0, le=100)] = 3.0
    """How late slow weights become slow; 0: equally slow throughout."""


Optimizer = Annotated[SGD | Adam | AdamW | Muon, Field(discriminator="name")]
Schedule = Annotated[
    ConstantSchedule | StepSchedule | CosineSchedule | OneCycleSchedule | TriangularSchedule,
    Field(discriminator="name"),
]


class Initialization(Frozen):
    """Starting weights of linear and convolution layers; everything else keeps PyTorch's own."""

    weights: Literal["default", "glorot-normal", "glorot-uniform", "kaiming-normal", "kaiming-uniform"] = "default"
    """`default` is PyTorch's; `glorot-normal` is JAX's: normal, cut at two standard deviations, variance kept."""
    bias_std: Annotated[float, Field(ge=0, le=10)] | None = None
    """Biases normal with this standard deviation (0: all zero); left out: PyTorch's own."""
    whitening: bool = False
    """The first convolution starts as the principal components of the subset's patches, over their standard deviations,
    and their negatives, and only its biases are trained. It must have two filters for each value of a patch."""


class Augmentation(Frozen):
    """Random changes to each training image, drawn anew at every presentation. All sizes in pixels."""

    flip: bool | Literal["alternating"] = False
    """Mirror left-right with probability 1/2. `alternating`: each run draws once which examples, and mirrors the others
    in every other epoch, so that any two epochs in a row show both (Jordan, arXiv:2404.00498, section 3.6)."""
    translate: Annotated[int, Field(ge=0, le=64)] = 0
    """Shift by up to this many pixels in each direction (crop after padding with the mean colour)."""
    cutout: Annotated[int, Field(ge=0, le=256)] = 0
    """Blank a square of this side at a random place."""

    @property
    def changes_images(self) -> bool:
        """Whether any of it is requested."""
        return bool(self.flip) or self.translate > 0 or self.cutout > 0


class Recipe(Frozen):
    """Everything that decides how a model is trained on its subset."""

    epochs: Epochs
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)]
    drop_last: bool = False
    """Leave out the last, smaller minibatch of each epoch. The published MNIST recipes keep it."""
    optimizer: Optimizer = SGD()
    schedule: Schedule = ConstantSchedule()
    lookahead: Lookahead | None = None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    input_scaling: Literal["unit", "standardize"] = "unit"
    """`unit`: pixels to [0, 1]. `standardize`: then minus the channel mean, over the channel standard deviation."""
    initialization: Initialization = Initialization()
    augmentation: Augmentation = Augmentation()
    curriculum: Curriculum | None = None
    """Partitions of the subset that are trained in turn; left out: every epoch shows all of it."""
    evaluation_flip: bool = False
    """Evaluate on the mean of the logits of an image and of its mirror image."""
    fixed_seed: bool = False
    """Every run has the same seeds of initialization, order, augmentation and partitions, at every ratio, so that runs
    differ in their subsets alone: as a program that seeds its generators alike at the start of each run."""
    precision: Annotated[
        Literal["float32", "tf32", "bfloat16", "auto"] | None, Field(json_schema_extra={"formerly": "float32"})
    ] = None
    """Of matrix products and convolutions; weights, their updates and the last layer are float32 in any case. `auto`:
    bfloat16 where the machine has instructions for it. `tf32`: float32 whose factors GPUs round to 10 bits; float32
    where they cannot. Left out: `auto` on a GPU, `float32` on a CPU. Decided once, when the store is made."""

    @model_validator(mode="after")
    def _schedule_fits_epochs(self) -> "Recipe":
        schedule = self.schedule
        if isinstance(schedule, TriangularSchedule) and schedule.peak_epoch > self.epochs:
            raise ValueError(f"schedule.peak_epoch must be at most epochs ({self.epochs}), got {schedule.peak_epoch}")
        if isinstance(schedule, CosineSchedule) and schedule.warmup_epochs > self.epochs:
            raise ValueError(
                f"schedule.warmup_epochs must be at most epochs ({self.epochs}), got {schedule.warmup_epochs}"
            )
        if isinstance(schedule, StepSchedule) and max(schedule.milestones, default=0) >= self.epochs:
            raise ValueError(
                f"schedule.milestones must be under epochs ({self.epochs}), got {list(schedule.milestones)}"
            )
        return self
