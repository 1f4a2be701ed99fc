"""Plans how runs are executed: precision, models per stack, runs per shard.

Decided when the store is made, and kept in it, because all three can change a result's last bit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.campaigns.preflight import ModelFacts
from workers.campaign.campaign import Campaign
from workers.campaign.lr_schedule import examples_per_epoch, steps_per_epoch
from workers.datasets import Dataset
from workers.errors import CampaignError
from workers.models import build_model
from workers.models.stacking import unstackable_reason
from workers.store.stack_program import GROUPED, StackProgram
from workers.subsets.draw import size_limits, subset_size
from workers.training import Precision
from workers.training.hardware import Machine
from workers.training.stack_choice import StackChoice, even_size

_CPU_STACK = 32
_CPU_CACHE_BYTES = 1e7
_CPU_STEP_OPERATIONS = 1e9
"""On a core stacking saves what calling costs, until a stack leaves its share of the cache (measured: digits, 0.090 s a
run alone, 0.029 in stacks of 16, 0.026 of 32, 0.029 of 96), and nothing once a model's own step takes a millisecond
(MNIST: 1.7 s a run in stacks of one, 2.2 s in stacks of two, with a worker on each of two cores)."""

_LADDER = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Limits of a stack on a GPU: few and far apart, so that GPUs of one kind, whose memory differs a little, get one."""

_GPU_STACK = _LADDER[-1]
_GPU_STEP_OPERATIONS = 1e11
"""A fifth of a millisecond of a large GPU's matrix units: with less to do a step waits for memory and launches."""

_GPU_SHARES = (1, 2, 4, 8)
"""Sizes tried on a GPU, as shares of the largest."""

_SATURATED = "one model already saturates the device"

_STATE_BYTES = 14
"""Per weight: itself, momentum, gradient, and a copy in half precision. AdamW has one more number; near enough."""

_PRESENTATIONS_PER_SHARD = 240_000
_OPERATIONS_PER_SHARD = 1e11
_MAX_SHARD_SIZE = 8
"""Work that keeps a shard near a second on one core, by number of examples and by forward passes' operations: enough to
hide scheduling, little to lose. A shard is never less than one stack."""


@dataclass(frozen=True)
class ExecutionPlan:
    """How a store's runs are trained. `shard_size` is a multiple of `stack_size`.

    `unstackable_reason` is the reason where models train one at a time; else None. `note`: what a calibration found.
    """

    shard_size: int
    stack_size: int
    precision: Precision
    unstackable_reason: str | None = None
    note: str | None = None
    program: StackProgram = GROUPED

    def header_fields(self) -> dict[str, Any]:
        """What a store's header keeps of it, as keywords of `make_header`."""
        kept = ("shard_size", "stack_size", "precision", "program")
        return {name: getattr(self, name) for name in kept}


@dataclass(frozen=True)
class RequestedSizes:
    """Runs per shard and models per stack that a user asked for; None: as the work and the device need it."""

    shard: int | None = None
    stack: int | None = None


def plan_execution(
    campaign: Campaign,
    dataset: Dataset,
    facts: ModelFacts,
    machine: Machine,
    requested: RequestedSizes = RequestedSizes(),
    fastest: Callable[[Campaign, Sequence[int], Precision], StackChoice] | None = None,
) -> ExecutionPlan:
    """The execution plan of a new store on workers like `machine`; a given shard size bounds the stack's.

    On a GPU `fastest` chooses a program, and a size among those that are likely to fit; without it the largest grouped
    stack is taken. On a CPU nothing is timed, so that a campaign is always arranged alike. Raises CampaignError where a
    requested stack is impossible.
    """
    precision = decide_precision(campaign, machine)
    limit = requested.stack or min(_stack_limit(campaign, facts, machine), requested.shard or _GPU_STACK)
    calibrated = fastest if machine.device == "cuda" and requested == RequestedSizes() else None
    reason = None if limit > 1 or calibrated else _SATURATED
    if reason is None:
        shape, classes = dataset.input_shape, dataset.num_classes
        reason = unstackable_reason(lambda: build_model(campaign.model, shape, classes), shape)
        reason = reason or _unequal_reason(campaign, dataset.num_train)
    if requested.stack is not None:
        return _requested_plan(campaign, dataset, facts, requested, ExecutionPlan(1, 1, precision, reason))
    choice, note = StackChoice(1 if reason else even_size(campaign.subsets.repetitions, limit)), None
    if calibrated and not reason:
        sizes = {even_size(campaign.subsets.repetitions, _on_ladder(limit / share)) for share in _GPU_SHARES}
        choice = calibrated(campaign, sorted(sizes), precision)
        if choice.program.kind == "grouped" and choice.size < min(sizes):
            tried, left = min(sizes), choice.size
            note = f"{tried} models at a time ran out of memory in the calibration: they train {left} at a time"
    reason = reason or (_SATURATED if choice.size == 1 else None)
    if requested.shard is not None:
        stack = max(size for size in range(1, choice.size + 1) if requested.shard % size == 0)
        return ExecutionPlan(requested.shard, stack, precision, reason)
    shard = _whole_stacks(choice.size, _usual_shard(campaign, dataset, facts))
    return ExecutionPlan(shard, choice.size, precision, reason, note, choice.program)


def _unequal_reason(campaign: Campaign, num_train: int) -> str | None:
    """Why masks of several sizes cannot train as one program: all of its models take equally many steps of one size."""
    recipe = campaign.recipe
    for ratio_ppm in campaign.subsets.ratios_ppm:
        presented = set()
        for size in size_limits(campaign, ratio_ppm, num_train):
            steps, shown = steps_per_epoch(recipe, size), examples_per_epoch(recipe, size)
            presented.add(min(shown, steps * recipe.batch_size))
        if len(presented) > 1:
            return "the masks have different sizes (recipe.drop_last makes minibatches equal)"
    return None


def _requested_plan(
    campaign: Campaign, dataset: Dataset, facts: ModelFacts, requested: RequestedSizes, plan: ExecutionPlan
) -> ExecutionPlan:
    """The plan with the stack size requested, whatever the repetitions and the device."""
    stack = requested.stack or 1
    if stack > 1 and plan.unstackable_reason:
        raise CampaignError(f"stack_size: must be 1, since {plan.unstackable_reason}, got {stack}")
    shard = requested.shard or _whole_stacks(stack, _usual_shard(campaign, dataset, facts))
    if shard % stack:
        raise CampaignError(f"stack_size: must divide shard_size {shard}, got {stack}")
    reason = plan.unstackable_reason if stack > 1 else "as requested"
    return replace(plan, shard_size=shard, stack_size=stack, unstackable_reason=reason)


def _whole_stacks(stack: int, runs: int) -> int:
    """About so many runs, in whole stacks: one at least."""
    return stack * max(1, runs // stack)


def decide_precision(campaign: Campaign, machine: Machine) -> Precision:
    """The precision of a new store's runs on workers like `machine`, from what the recipe requests.

    Where it requests nothing: bfloat16 on GPUs with instructions for it, and float32 on CPUs, as always there.
    """
    match campaign.recipe.precision:
        case "float32" | "bfloat16" as given:
            return given
        case "tf32":
            return "tf32" if machine.tf32 else "float32"
        case "auto":
            return "bfloat16" if machine.bfloat16 else "float32"
        case None:
            return "bfloat16" if machine.bfloat16 and machine.device == "cuda" else "float32"


def _stack_limit(campaign: Campaign, facts: ModelFacts, machine: Machine) -> int:
    """The size from which on a larger stack is no faster, or does not fit."""
    step = max(1, 3 * facts.forward_operations * campaign.recipe.batch_size)
    state = max(1, _STATE_BYTES * facts.parameters)
    if machine.device == "cpu":
        return max(1, min(_CPU_STACK, int(_CPU_CACHE_BYTES / state), int(_CPU_STEP_OPERATIONS / step)))
    return _on_ladder(min(machine.memory / 4 / state, _GPU_STEP_OPERATIONS / step))


def _on_ladder(size: float) -> int:
    """The largest size of the ladder that is at most `size`; 1 at least."""
    return max((step for step in _LADDER if step <= size), default=1)


def _usual_shard(campaign: Campaign, dataset: Dataset, facts: ModelFacts) -> int:
    """Runs per shard by the work of one run. The campaign alone decides, never the machine's speed."""
    recipe, ratios_ppm = campaign.recipe, campaign.subsets.ratios_ppm
    shown = [examples_per_epoch(recipe, subset_size(ratio_ppm, dataset.num_train)) for ratio_ppm in ratios_ppm]
    presentations = recipe.epochs * sum(shown) / len(shown)
    fitting = min(_PRESENTATIONS_PER_SHARD, _OPERATIONS_PER_SHARD / max(1, facts.forward_operations)) / presentations
    return max(1, min(_MAX_SHARD_SIZE, int(fitting)))
