"""Learning-rate schedules: the rate at each step, as a factor of the recipe's rate."""

import math
from bisect import bisect_right

from workers.campaign.recipe import (
    ConstantSchedule,
    CosineSchedule,
    OneCycleSchedule,
    Recipe,
    StepSchedule,
    TriangularSchedule,
)


def examples_per_epoch(recipe: Recipe, subset_size: int) -> int:
    """Examples of a subset that an epoch can show: all, or as many as each partition of a curriculum has."""
    return subset_size if recipe.curriculum is None else subset_size // recipe.curriculum.partitions


def steps_per_epoch(recipe: Recipe, subset_size: int) -> int:
    """Minibatches in one epoch; 0 where `drop_last` leaves none, or a partition has no example."""
    shown = examples_per_epoch(recipe, subset_size)
    return shown // recipe.batch_size if recipe.drop_last else -(-shown // recipe.batch_size)


def rate_factor(recipe: Recipe, step: int, steps_in_epoch: int) -> float:
    """Learning rate at a step (from 0), over the recipe's rate."""
    total = recipe.epochs * steps_in_epoch
    schedule = recipe.schedule
    match schedule:
        case ConstantSchedule():
            return 1.0
        case StepSchedule():
            return float(schedule.factor ** bisect_right(sorted(schedule.milestones), step // steps_in_epoch))
        case CosineSchedule():
            warmup = schedule.warmup_epochs * steps_in_epoch
            if step < warmup:
                return min(1.0, (step + 1) / warmup)
            return _cosine(1.0, schedule.final, (step - warmup) / max(1.0, total - warmup))
        case OneCycleSchedule():
            return _one_cycle(schedule, step, total)
        case TriangularSchedule():
            return _triangular(schedule, step, total, schedule.peak_epoch * steps_in_epoch)


def _triangular(schedule: TriangularSchedule, step: int, total: int, peak: float) -> float:
    if step < peak:
        return schedule.start + (1 - schedule.start) * (step / peak)
    left = (total - step) / (total - peak) if total > peak else 1.0
    return schedule.final + (1 - schedule.final) * left


def _one_cycle(schedule: OneCycleSchedule, step: int, total: int) -> float:
    """torch.optim.lr_scheduler.OneCycleLR with cosine annealing, over its max_lr."""
    start = 1 / schedule.start_divisor
    end = start / schedule.final_divisor
    peak = schedule.peak * total - 1
    if step <= peak:
        return _cosine(start, 1.0, step / peak) if peak > 0 else 1.0
    return _cosine(1.0, end, (step - peak) / (total - 1 - peak))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
