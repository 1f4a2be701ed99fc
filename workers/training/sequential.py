"""The plain engine: one model after the other."""

import math
import time
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from workers.campaign import Campaign
from workers.device_data import DeviceData
from workers.evaluation import correctness
from workers.models import build_model
from workers.recipe import SGD, AdamW
from workers.runs import Run
from workers.schedule import rate_factor, steps_per_epoch
from workers.store import EpochRecord, RunResult
from workers.subsets import Purpose, draw_subset, generator, integer_seed
from workers.training.augmentation import augment
from workers.training.determinism import deterministic
from workers.training.initialization import initialize


class SequentialEngine:
    """Trains any `torch.nn.Module`, one run at a time."""

    def train(self, campaign: Campaign, data: DeviceData, runs: Sequence[Run]) -> list[RunResult]:
        """See `Engine.train`."""
        with deterministic(data.device):
            return [_train_run(campaign, data, run) for run in runs]


def _train_run(campaign: Campaign, data: DeviceData, run: Run) -> RunResult:
    started = time.perf_counter()
    # Seeds the global generators too: dropout and the like in user models draw from them.
    torch.manual_seed(integer_seed(campaign, Purpose.INITIALIZATION, run))
    model = build_model(campaign.model, data.input_shape, data.num_classes)
    initialize(model, campaign.recipe.initialization)
    trainer = _Trainer(campaign, data, run, model.to(data.device))
    recorded = set(campaign.recorded_epochs())
    epochs: list[EpochRecord] = []
    diverged = False
    for epoch in range(1, campaign.recipe.epochs + 1):
        loss = trainer.train_epoch()
        diverged = not math.isfinite(loss)
        if epoch in recorded or diverged:
            train_correct, test_correct = correctness(model, data, campaign.recipe.evaluation_flip)
            epochs.append(EpochRecord(epoch, train_correct, test_correct, loss))
        if diverged:
            break
    return RunResult(
        run=run,
        subset=trainer.subset,
        epochs=epochs,
        status="diverged" if diverged else "completed",
        seconds=time.perf_counter() - started,
        device=device_name(data.device),
    )


class _Trainer:
    """One model, its optimiser, and the run's own streams of order and augmentation."""

    def __init__(self, campaign: Campaign, data: DeviceData, run: Run, model: nn.Module) -> None:
        self.recipe = campaign.recipe
        self.data = data
        self.model = model
        self.subset = draw_subset(campaign, run, len(data.train_labels))
        self.members = self.subset.nonzero()[0]
        self.optimizer = _optimizer(model, self.recipe.optimizer)
        self.order = generator(campaign, Purpose.ORDER, run)
        self.noise = torch.Generator(data.device)
        self.noise.manual_seed(integer_seed(campaign, Purpose.AUGMENTATION, run))
        self.steps = steps_per_epoch(self.recipe, len(self.members))
        self.step = 0

    def train_epoch(self) -> float:
        """One pass over the subset in a new order. Returns the mean loss over the examples presented."""
        recipe, data = self.recipe, self.data
        self.model.train()
        order = torch.from_numpy(self.order.permutation(self.members)).to(data.device)
        total = torch.zeros((), device=data.device)
        for start in range(0, self.steps * recipe.batch_size, recipe.batch_size):
            batch = order[start : start + recipe.batch_size]
            images = data.scaled(data.train_images[batch])
            images = augment(images, recipe.augmentation, data.fill, self.noise)
            logits = self.model(images)
            loss = F.cross_entropy(logits, data.train_labels[batch], label_smoothing=recipe.label_smoothing)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            rate = recipe.optimizer.learning_rate * rate_factor(recipe, self.step, self.steps)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.step()
            self.step += 1
            total += loss.detach() * len(batch)
        return float(total) / min(len(order), self.steps * recipe.batch_size)


def _optimizer(model: nn.Module, how: SGD | AdamW) -> torch.optim.Optimizer:
    if isinstance(how, AdamW):
        return torch.optim.AdamW(
            model.parameters(),
            lr=how.learning_rate,
            betas=(how.beta1, how.beta2),
            eps=how.epsilon,
            weight_decay=how.weight_decay,
            fused=True,
        )
    return torch.optim.SGD(
        model.parameters(),
        lr=how.learning_rate,
        momentum=how.momentum,
        nesterov=how.nesterov,
        weight_decay=how.weight_decay,
        fused=True,
    )


def device_name(device: torch.device) -> str:
    """The device as stored with each run: `cpu`, or the GPU's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
