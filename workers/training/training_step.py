"""One update of all models of a stack: losses and gradients of a minibatch, and the optimizer's step."""

import torch
from torch.nn import functional as F

from workers.campaign.campaign import Campaign
from workers.models.stacking import ModelStack
from workers.training.augmentation import augment
from workers.training.cpu_replay import ReplayedStep
from workers.training.cuda_graphs import Step, Tensors
from workers.training.device_data import DeviceData
from workers.training.optimizers import Update
from workers.training.presentations import observe
from workers.training.probes.gradients import GradientSums

_SMALL_BATCH = 512


class Gradients:
    """Computes for a minibatch: losses, what is recorded of it, and the weights' gradients."""

    def __init__(
        self,
        campaign: Campaign,
        data: DeviceData,
        stack: ModelStack,
        update: Update,
        sums: GradientSums | None = None,
    ) -> None:
        self.campaign = campaign
        self.data = data
        self.stack = stack
        self.update = update
        self.sums = sums

    def __call__(
        self, stored: torch.Tensor, index: torch.Tensor, changes: torch.Tensor | None = None
    ) -> tuple[Tensors, tuple[torch.Tensor | None, ...]]:
        """Of examples int64[K, B], their images given as stored, [K*B, ...], with changes int64[DRAWS, K, B].

        Returns each model's summed loss with what `observe` does, and a gradient for each weight.
        """
        data, recipe = self.data, self.campaign.recipe
        images = data.scaled(stored)
        if changes is not None:
            images = augment(images, recipe.augmentation, data.fill, changes.flatten(1))
        self.stack.show_examples(index)
        logits, labels = self.stack(images).float(), data.train_labels.index_select(0, index.reshape(-1))
        losses = _cross_entropy(logits, labels, recipe.label_smoothing)
        observed = observe(self.campaign, logits.view(*index.shape, -1), labels.view(index.shape))
        sums = losses.detach().view(index.shape).sum(dim=1)
        factor = 1 / index.shape[1]
        gradients = self.update.gradients(losses, factor, retain_graph=self.sums is not None)
        if self.sums is not None:
            split = data.split.index_select(0, index.reshape(-1))
            self.sums.add(gradients, self.update.gradients(losses * split, factor))
        return (sums, *observed), tuple(gradients)


class TrainingStep:
    """One update of all models of a stack."""

    def __init__(self, gradients: Gradients) -> None:
        self.data = gradients.data
        self.update = gradients.update
        self.gradients = ReplayedStep(gradients) if self.data.device.type == "cpu" else gradients

    @property
    def device_only_step(self) -> Step:
        """The part that runs on the device alone, for capture: the whole step, or `on_images` for streamed images."""
        return self if self.data.train_images.on_device else self.on_images

    def __call__(self, index: torch.Tensor, *changes: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Train on examples int64[K, B], where they are augmented with changes int64[DRAWS, K, B].

        Returns each model's summed loss, and then what `observe` does.
        """
        return self.on_images(self.data.train_images.select(index.reshape(-1)), index, *changes)

    def on_images(self, stored: torch.Tensor, index: torch.Tensor, *changes: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The same with the examples' images given as stored, [K*B, ...]."""
        outputs, gradients = self.gradients(stored, index, *changes)
        self.update.apply(gradients)
        return outputs


def _cross_entropy(logits: torch.Tensor, labels: torch.Tensor, smoothing: float) -> torch.Tensor:
    """PyTorch's cross entropy without reduction: float32[B, C] and int64[B] to float32[B].

    Written out for large batches, because its softmax over a few classes is slow on a CPU (2048 x 10: 0.20 ms, against
    0.05 written out).
    """
    if len(logits) <= _SMALL_BATCH:
        return F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    is_label = labels[:, None] == torch.arange(logits.shape[1], device=logits.device)
    target = torch.where(is_label, logits, 0).sum(dim=1)
    if smoothing:
        target = (1 - smoothing) * target + smoothing * logits.mean(dim=1)
    return logits.logsumexp(dim=1) - target
