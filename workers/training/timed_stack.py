"""`TimedStack`: trains a stack of new models for some steps: their losses, and the seconds that a step takes."""

import time
from collections.abc import Callable

import torch

from workers.campaign.campaign import Campaign
from workers.models import build_model
from workers.training.augmentation import DRAWS
from workers.training.cuda_graphs import with_cuda_graph
from workers.training.determinism import deterministic
from workers.training.device_data import DeviceData
from workers.training.dtype import DTYPES, Precision
from workers.training.optimizers import Update
from workers.training.stack_choice import StackChoice
from workers.training.stacked import make_stack
from workers.training.stage_masks import set_masks
from workers.training.training_step import Gradients, TrainingStep
from workers.user_code.boundary import user_code

_FIRST_STEPS = 5
"""As many as it takes until a CUDA graph is captured and replayed."""
_TIMED_STEPS = 5
_ROUNDS = 6
"""Of timed steps; the fastest counts, since other programs on the device only delay."""


class TimedStack:
    """The first steps of a stack from fixed seeds: those of two programs on the same examples can be compared."""

    losses: torch.Tensor
    """float32[5, K] on the CPU: each model's summed loss at the first steps."""
    first_seconds: float
    """Of these steps: with what is compiled and captured at them."""
    seconds: float
    """Of one step from then on, of all models together."""

    def __init__(self, campaign: Campaign, data: DeviceData, choice: StackChoice, precision: Precision) -> None:
        """Takes seconds. What a model of the user's own raises passes through, and what the device raises."""
        with user_code("model"), deterministic(data.device, precision):
            torch.manual_seed(0)
            models = [build_model(campaign.model, data.input_shape, data.num_classes) for _ in range(choice.size)]
            for model in models:
                set_masks(model, campaign, len(data.train_labels), data.device)
            stack = make_stack(models, DTYPES[precision], data.device, choice.program)
            stack.draw_from([torch.Generator(data.device) for _ in models])
            stack.train(True)
            update = Update(stack.weights, campaign.recipe.optimizer, stack.compute)
            step = TrainingStep(Gradients(campaign, data, stack, update))
            whole = step.device_only_step
            take_step = whole if stack.draws else with_cuda_graph(whole, data.device)
            arguments = _arguments(campaign, data, choice.size)
            started = time.perf_counter()
            self.losses = torch.stack([take_step(*arguments)[0].cpu().clone() for _ in range(_FIRST_STEPS)])
            self.first_seconds = time.perf_counter() - started
            self.seconds = min(_timed(lambda: take_step(*arguments)[0]) for _ in range(_ROUNDS))


def _arguments(campaign: Campaign, data: DeviceData, count: int) -> list[torch.Tensor]:
    """A minibatch of each model as `TrainingStep.device_only_step` takes it; every model's is the same."""
    size = campaign.recipe.batch_size
    drawn = torch.randint(len(data.train_images), (size,), generator=torch.Generator().manual_seed(0))
    index = drawn.expand(count, size).to(data.device).contiguous()
    arguments = [index]
    if campaign.recipe.augmentation.changes_images:
        arguments.append(torch.zeros((DRAWS, count, size), dtype=torch.int64, device=data.device))
    if not data.train_images.on_device:
        arguments.insert(0, data.train_images.select(index.flatten()))
    return arguments


def _timed(take_step: Callable[[], torch.Tensor]) -> float:
    """Seconds of a step, the mean of several."""
    started = time.perf_counter()
    for _ in range(_TIMED_STEPS):
        losses = take_step()
    losses.cpu()  # waits for the device
    return (time.perf_counter() - started) / _TIMED_STEPS
