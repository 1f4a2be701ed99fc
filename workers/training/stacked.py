"""The stacked engine: trains a stack of small models as one program."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run
from workers.campaign.lr_schedule import rate_factor
from workers.common.arrays import Bools
from workers.models.stacking import ModelStack, StackedModel, StreamedModels
from workers.store import RunResult
from workers.store.output_columns import output_columns
from workers.store.stack_program import GROUPED, StackProgram
from workers.subsets.draw import Purpose, integer_seed
from workers.training.cuda_graphs import with_cuda_graph
from workers.training.device_data import DeviceData
from workers.training.dtype import DTYPES, Precision
from workers.training.engine import NO_CHECKPOINTS, Checkpoints, sub_stacks, train_in_stacks
from workers.training.epoch_inputs import EpochInputs, upload
from workers.training.evaluation import Evaluation, evaluate
from workers.training.loop import EpochOutput, Trainer
from workers.training.memory import check_memory_on_cpu
from workers.training.minibatch_streams import MinibatchStreams
from workers.training.optimizers import Update
from workers.training.preparation import PreparedStack, StackPreparation
from workers.training.presentations import PresentationRecorder
from workers.training.probes.gradients import gradient_sums
from workers.training.trainer_state import ResumableTrainer, TrainerState, global_generators
from workers.training.training_step import Gradients, TrainingStep

_EVALUATION_BATCH = 1000
"""Examples per model, at most. It depends on the stack's size alone, because it can change the last bit of a logit."""
_CACHED_ROWS = 4096
"""Examples of all models together whose activations stay in a core's cache."""


class StackedEngine:
    """Trains `size` runs at a time: repetitions 0..size-1 of a ratio, then the next `size`, and so on.

    A stack is always whole, and a run always has the same place in it, because a model's neighbours could change its
    last bit: where only some of a stack's runs are requested, the others are trained too and dropped.
    """

    def __init__(
        self,
        size: int,
        precision: Precision = "float32",
        stack_size: int | None = None,
        *,
        program: StackProgram = GROUPED,
        overlap: bool | None = None,
    ) -> None:
        """`stack_size` is that of the store, where memory does not suffice for it: see `Engine.stack_size`.

        `overlap`: see `StackPreparation`.
        """
        self.size = size
        self.program = program
        self.stack_size = stack_size or size
        self.precision: Precision = precision
        self._overlap = overlap
        self._preparation = StackPreparation(overlap)
        self._last: _Trainer | None = None
        self._scaled: tuple[object, DeviceData, DeviceData] | None = None

    def halved(self) -> "StackedEngine | None":
        """See `Engine.halved`."""
        if self.size == 1:
            return None
        half = -(-self.size // 2)
        return StackedEngine(half, self.precision, self.stack_size, program=self.program, overlap=self._overlap)

    def train(
        self, campaign: Campaign, data: DeviceData, runs: Sequence[Run], checkpoints: Checkpoints = NO_CHECKPOINTS
    ) -> list[RunResult]:
        """See `Engine.train`. Raises NotStackableError."""
        return train_in_stacks(self, campaign, data, runs, checkpoints)

    def evaluation_batch_size(self, *, on_cpu: bool) -> int:
        """See `Engine.evaluation_batch_size`."""
        return min(_EVALUATION_BATCH, max(1, _CACHED_ROWS // self.size)) if on_cpu else _EVALUATION_BATCH

    def start(self, campaign: Campaign, data: DeviceData, runs: Sequence[Run]) -> Trainer:
        """See `Engine.start`."""
        return self._fresh(campaign, data, runs, self._preparation.take(campaign, data, runs))

    def start_next(self, campaign: Campaign, data: DeviceData, runs: Sequence[Run]) -> Trainer:
        """See `Engine.start_next`. What was recorded or captured for one stack serves the next ones."""
        prepared = self._preparation.take(campaign, data, runs)
        if self._last is not None and self._last.serves(campaign, data, runs):
            self._last.take_over(runs, prepared)
        else:
            self._last = None  # its memory is free before the next one takes some
            self._last = self._fresh(campaign, data, runs, prepared)
        return self._last

    def prepare(self, campaign: Campaign, data: DeviceData, runs: Sequence[Run]) -> None:
        """See `Engine.prepare`."""
        self._preparation.begin(campaign, data, sub_stacks(runs, self.size, self.stack_size)[0])

    def _fresh(self, campaign: Campaign, data: DeviceData, runs: Sequence[Run], prepared: PreparedStack) -> "_Trainer":
        check_memory_on_cpu(campaign, self, data)
        stack = make_stack(prepared.models, DTYPES[self.precision], data.device, self.program)
        batch = self.evaluation_batch_size(on_cpu=data.device.type == "cpu")
        trainer = _Trainer(campaign, self._inputs_for(stack, campaign, data), runs, stack, prepared.streams)
        trainer.unscaled_data, trainer.evaluation_batch = data, batch
        return trainer

    def _inputs_for(self, stack: ModelStack, campaign: Campaign, data: DeviceData) -> DeviceData:
        """The data, scaled once and for all where they are few and not augmented."""
        key = (id(data), stack.input_dtype)
        if self._scaled is None or self._scaled[0] != key:
            augmented = campaign.recipe.augmentation.changes_images
            self._scaled = (key, data, data if augmented else data.scaled_once(stack.input_dtype))
        return self._scaled[2]


def make_stack(
    models: Sequence[nn.Module], compute: torch.dtype, device: torch.device, program: StackProgram
) -> ModelStack:
    """The stack of models that computes as `program` says. Raises NotStackableError."""
    kinds = {"grouped": StackedModel, "streams": StreamedModels}
    stack: ModelStack = kinds[program.kind](models, compute, device)
    if program.compiled:
        stack.compile_training()
    return stack


class _Trainer(ResumableTrainer):
    """K models in one stack, one update over it, and every run's own streams of order and augmentation."""

    unscaled_data: DeviceData
    """The data as given, whose images `data` may hold scaled."""
    evaluation_batch: int
    """Examples that each model is evaluated on at a time."""

    def __init__(
        self,
        campaign: Campaign,
        data: DeviceData,
        runs: Sequence[Run],
        stack: ModelStack,
        streams: Sequence[MinibatchStreams],
    ) -> None:
        self.campaign = campaign
        self.recipe = campaign.recipe
        self.record = campaign.record
        self.data = data
        self.stack = stack
        update = Update(stack.weights, self.recipe.optimizer, stack.compute)
        self.gradient_sums = gradient_sums(campaign, runs, stack.weights, stack.trained)
        self._masks = [torch.Generator(data.device) for _ in runs]
        stack.draw_from(self._masks)
        super().__init__(stack.graphs, self.recipe, update, streams, [*self._masks, *global_generators(data.device)])
        self._begin(runs, streams)
        step = TrainingStep(Gradients(campaign, data, stack, update, self.gradient_sums))
        self.take_step = with_cuda_graph(step.device_only_step, data.device, self._masks if stack.draws else ())

    def serves(self, campaign: Campaign, data: DeviceData, runs: Sequence[Run]) -> bool:
        """Whether `take_over` can train these runs. Which runs are probed is part of what is captured."""
        alike = self.unscaled_data is data and self.campaign == campaign and len(runs) == len(self.subsets)
        return alike and campaign.record.probes is None

    def take_over(self, runs: Sequence[Run], prepared: PreparedStack) -> None:
        """Become a new trainer of other runs; tensors stay where they are, so that what was captured stays valid."""
        self.stack.load(prepared.values())
        self._begin(runs, prepared.streams)

    def _begin(self, runs: Sequence[Run], streams: Sequence[MinibatchStreams]) -> None:
        self.begin_anew(streams)
        self.subsets: Sequence[Bools] = [each.subset for each in streams]
        self._inputs: EpochInputs | None = None
        for run, generator in zip(runs, self._masks, strict=True):
            generator.manual_seed(integer_seed(self.campaign, Purpose.INITIALIZATION, run))

    def restore(self, state: TrainerState) -> None:
        """See `ResumableTrainer.restore`."""
        super().restore(state)
        self._inputs = None

    def draw_ahead(self, steps: int) -> None:
        """See `ResumableTrainer.draw_ahead`. Also copied to the device, behind what that has still to do."""
        super().draw_ahead(steps)
        epochs = [epoch for stream in self.presentations if (epoch := stream.ahead) is not None]
        self._inputs = upload(epochs, self.data.device) if epochs else None

    def train_epoch(self) -> EpochOutput:
        """See `Trainer.train_epoch`. The device is waited for once, at the end."""
        self.stack.train(True)
        steps, count = self.presentations[0].steps, self.presentations[0].count
        epochs = [stream.next_epoch() for stream in self.presentations]
        shown, self._inputs = self._inputs or upload(epochs, self.data.device), None
        inputs: list[Iterable[torch.Tensor]] = [torch.split(shown.order, self.recipe.batch_size, dim=1)]
        if not self.data.train_images.on_device:
            inputs.insert(0, self._streamed(shown.indices))
        if shown.changes is not None:
            inputs.append(torch.split(shown.changes, self.recipe.batch_size, dim=2))
        total = torch.zeros(len(epochs), device=self.data.device)
        recorder = PresentationRecorder(self.record)
        for batch in zip(*inputs, strict=True):
            self.update.set_rate_factor(rate_factor(self.recipe, self.step, steps))
            summed, *observed = self.take_step(*batch)
            total += summed
            recorder.add(observed)
            self.end_step(steps)
        self.draw_ahead(steps)
        losses = [float(each) / count for each in total.cpu()]
        sums = None if self.gradient_sums is None else self.gradient_sums.end_epoch()
        return EpochOutput(losses, recorder.of_examples(shown.order, len(self.data.train_labels)), sums)

    def weights_of(self, k: int) -> dict[str, torch.Tensor]:
        """See `Trainer.weights_of`."""
        return self.stack.weights_of(k)

    def _streamed(self, orders: npt.NDArray[np.int64]) -> Iterator[torch.Tensor]:
        """The stored images of each minibatch of all models, [K*B, ...], for orders int64[K, n], read ahead."""
        count, size = len(orders), self.recipe.batch_size
        parts = [orders[:, start : start + size].ravel() for start in range(0, orders.shape[1], size)]
        return self.data.train_images.minibatches(np.concatenate(parts), count * size)

    def evaluate(self) -> Evaluation:
        """See `Trainer.evaluate`."""
        self.stack.train(False)
        flip, columns = self.recipe.evaluation_flip, output_columns(self.record)
        return evaluate(self._predict, len(self.subsets), self.data, flip, self.evaluation_batch, columns)

    def _predict(self, images: torch.Tensor) -> torch.Tensor:
        """float32[B, ...] to float32[K, B, num_classes]."""
        count = len(self.subsets)
        folded = images.expand(count, *images.shape).flatten(0, 1)
        return self.stack(folded).float().view(count, len(images), -1)
