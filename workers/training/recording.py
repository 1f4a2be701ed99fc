"""The course of training that all engines share: epochs, the recorded ones, and runs that diverge."""

import math
import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from workers.campaign import Campaign
from workers.evaluation import Evaluation
from workers.runs import Run
from workers.store import EpochRecord, RunResult

Bits = npt.NDArray[np.bool_]


class Trainer(Protocol):
    """K models in training."""

    @property
    def subsets(self) -> Sequence[Bits]:
        """K subsets, bool[N]."""

    def train_epoch(self) -> list[float]:
        """One pass of every model over its subset. Returns each one's mean loss over the examples presented."""

    def evaluate(self) -> Evaluation:
        """What every model gets right now, and by what margin where that is recorded."""


def train_and_record(
    campaign: Campaign, runs: Sequence[Run], trainer: Trainer, device: torch.device, started: float
) -> list[RunResult]:
    """Train the K runs to their end. `started` is a `time.perf_counter`; the runs share the seconds since then."""
    recorded = set(campaign.recorded_epochs())
    epochs: list[list[EpochRecord]] = [[] for _ in runs]
    diverged = [False] * len(runs)
    for epoch in range(1, campaign.recipe.epochs + 1):
        losses = trainer.train_epoch()
        ended = [not before and not math.isfinite(loss) for before, loss in zip(diverged, losses, strict=True)]
        if epoch in recorded or any(ended):
            now = trainer.evaluate()
            for k, loss in enumerate(losses):
                if ended[k] or (epoch in recorded and not diverged[k]):
                    margin = None if now.test_margin is None else now.test_margin[k]
                    epochs[k].append(EpochRecord(epoch, now.train_correct[k], now.test_correct[k], loss, margin))
        diverged = [before or at_once for before, at_once in zip(diverged, ended, strict=True)]
        if all(diverged):
            break
    seconds = (time.perf_counter() - started) / len(runs)
    return [
        RunResult(
            run=run,
            subset=trainer.subsets[k],
            epochs=epochs[k],
            status="diverged" if diverged[k] else "completed",
            seconds=seconds,
            device=device_name(device),
        )
        for k, run in enumerate(runs)
    ]


def device_name(device: torch.device) -> str:
    """The device as stored with each run: `cpu`, or the GPU's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
