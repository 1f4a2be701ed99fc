"""The sequential engine: trains any model, one run at a time."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run
from workers.campaign.lr_schedule import rate_factor
from workers.common.arrays import Bools
from workers.models.stacking.single_model import single_model_weights
from workers.models.stage_dropout import example_tied, show_examples
from workers.store import RunResult
from workers.store.output_columns import output_columns
from workers.training.augmentation import augment
from workers.training.device_data import DeviceData
from workers.training.dtype import DTYPES, Precision, autocast_to, keep_head_in_float32
from workers.training.engine import NO_CHECKPOINTS, Checkpoints, train_in_stacks
from workers.training.evaluation import Evaluation, evaluate
from workers.training.loop import EpochOutput
from workers.training.memory import check_memory_on_cpu
from workers.training.minibatch_streams import MinibatchStreams
from workers.training.optimizers import Update
from workers.training.preparation import StackPreparation
from workers.training.presentations import PresentationRecorder, observe
from workers.training.probes.gradients import gradient_sums
from workers.training.trainer_state import ResumableTrainer, global_generators

_EVALUATION_BATCH = 2000
"""Fixed, because it can change the last bit of a logit; large enough to be efficient everywhere."""


class SequentialEngine:
    """Trains any `torch.nn.Module`, one run at a time."""

    size = stack_size = 1

    def __init__(self, precision: Precision = "float32", *, overlap: bool | None = None) -> None:
        """`overlap`: see `StackPreparation`."""
        self.precision: Precision = precision
        self._preparation = StackPreparation(overlap)

    def halved(self) -> None:
        """See `Engine.halved`."""

    def train(
        self, campaign: Campaign, data: DeviceData, runs: Sequence[Run], checkpoints: Checkpoints = NO_CHECKPOINTS
    ) -> list[RunResult]:
        """See `Engine.train`."""
        return train_in_stacks(self, campaign, data, runs, checkpoints)

    def evaluation_batch_size(self, *, on_cpu: bool) -> int:
        """See `Engine.evaluation_batch_size`: as many everywhere."""
        return _EVALUATION_BATCH

    def start(self, campaign: Campaign, data: DeviceData, runs: Sequence[Run]) -> "_Trainer":
        """See `Engine.start`."""
        check_memory_on_cpu(campaign, self, data)
        (run,) = runs
        prepared = self._preparation.take(campaign, data, runs)
        (model,) = prepared.models
        if self.precision == "bfloat16":
            keep_head_in_float32(model)
        if len(data.input_shape) == 3:
            model = model.to(memory_format=torch.channels_last)
        return _Trainer(campaign, data, run, model.to(data.device), prepared.streams, self.precision)

    def start_next(self, campaign: Campaign, data: DeviceData, runs: Sequence[Run]) -> "_Trainer":
        """See `Engine.start_next`: a new one."""
        return self.start(campaign, data, runs)

    def prepare(self, campaign: Campaign, data: DeviceData, runs: Sequence[Run]) -> None:
        """See `Engine.prepare`."""
        self._preparation.begin(campaign, data, runs[:1])


class _Trainer(ResumableTrainer):
    """One model, its optimiser, and the run's own streams of order and augmentation."""

    def __init__(
        self,
        campaign: Campaign,
        data: DeviceData,
        run: Run,
        model: nn.Module,
        streams: Sequence[MinibatchStreams],
        precision: Precision,
    ) -> None:
        self.campaign = campaign
        self.recipe = campaign.recipe
        self.record = campaign.record
        self.data = data
        self.model = model
        self._example_tied = example_tied(model)
        self.precision: Precision = precision
        self.subsets: Sequence[Bools] = [each.subset for each in streams]
        weights = single_model_weights(model)
        update = Update(weights, self.recipe.optimizer, DTYPES[precision])
        self.gradient_sums = gradient_sums(campaign, [run], weights, [weight.name for weight in weights])
        super().__init__([model], self.recipe, update, streams, global_generators(data.device))

    def train_epoch(self) -> EpochOutput:
        """See `Trainer.train_epoch`."""
        recipe, data, size = self.recipe, self.data, self.recipe.batch_size
        self.model.train()
        (presentations,) = self.presentations
        order, drawn = presentations.next_epoch()
        shown = torch.from_numpy(order).to(data.device)
        examples, labels = torch.split(shown, size), torch.split(data.train_labels[shown], size)
        split = torch.split(data.split[shown], size)
        changes = None if drawn is None else torch.split(torch.from_numpy(drawn).to(data.device), size, dim=1)
        total = torch.zeros((), device=data.device)
        recorder = PresentationRecorder(self.record)
        for index, raw in enumerate(data.train_images.minibatches(order, size)):
            images = data.scaled(raw)
            if changes is not None:
                images = augment(images, recipe.augmentation, data.fill, changes[index])
            show_examples(self._example_tied, examples[index])
            logits = self._logits(images)
            loss = F.cross_entropy(logits, labels[index], label_smoothing=recipe.label_smoothing)
            recorder.add(observe(self.campaign, logits[None], labels[index][None]))
            self.update.set_rate_factor(rate_factor(recipe, self.step, presentations.steps))
            gradients = self.update.gradients(loss, retain_graph=self.gradient_sums is not None)
            if self.gradient_sums is not None:
                losses = F.cross_entropy(
                    logits, labels[index], label_smoothing=recipe.label_smoothing, reduction="none"
                )
                marked = losses * split[index]
                self.gradient_sums.add(gradients, self.update.gradients(marked, 1 / len(raw)))
            self.update.apply(gradients)
            self.end_step(presentations.steps)
            total += loss.detach() * len(raw)
        self.draw_ahead(presentations.steps)
        presented = recorder.of_examples(shown[None], len(data.train_labels))
        sums = None if self.gradient_sums is None else self.gradient_sums.end_epoch()
        return EpochOutput([float(total) / presentations.count], presented, sums)

    def weights_of(self, k: int) -> dict[str, torch.Tensor]:
        """See `Trainer.weights_of`."""
        return {name: tensor.detach() for name, tensor in self.model.state_dict().items()}

    def evaluate(self) -> Evaluation:
        """See `Trainer.evaluate`."""
        self.model.eval()
        flip, columns = self.recipe.evaluation_flip, output_columns(self.record)
        return evaluate(lambda images: self._logits(images)[None], 1, self.data, flip, _EVALUATION_BATCH, columns)

    def _logits(self, images: torch.Tensor) -> torch.Tensor:
        """float32[B, ...] to float32[B, num_classes]."""
        if images.ndim == 4:
            images = images.contiguous(memory_format=torch.channels_last)
        with autocast_to(self.precision, self.data.device):
            logits: torch.Tensor = self.model(images)
        return logits.float()
