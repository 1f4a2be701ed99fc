"""The `Engine` protocol, and the loop over stacks that all engines share."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from typing import Protocol

from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run
from workers.store import RunResult
from workers.training.determinism import deterministic
from workers.training.device_data import DeviceData
from workers.training.dtype import Precision
from workers.training.loop import StackTraining, Trainer


class Checkpoints(Protocol):
    """Restores and saves a training at the ends of its epochs, so that it can be interrupted."""

    def resume(self, begin: Callable[[], StackTraining]) -> StackTraining:
        """The training that `begin` starts, restored to the last saved epoch where there is one."""

    def on_epoch_end(self, training: StackTraining) -> None:
        """Called at the end of every epoch."""


class NoCheckpoints:
    """Saves nothing and restores nothing."""

    def resume(self, begin: Callable[[], StackTraining]) -> StackTraining:
        """See `Checkpoints.resume`."""
        return begin()

    def on_epoch_end(self, training: StackTraining) -> None:
        """See `Checkpoints.on_epoch_end`."""


NO_CHECKPOINTS = NoCheckpoints()


class Engine(Protocol):
    """Trains runs. Every draw comes from the runs' own streams (`workers.subsets.draw`), never from shared state."""

    @property
    def size(self) -> int:
        """Runs that train together as a sub-stack, at most."""

    @property
    def stack_size(self) -> int:
        """The store's stack size: as many consecutive repetitions are divided into sub-stacks of `size`.

        The division depends on nothing else, so that a run's bits do not depend on which runs are requested.
        """

    def halved(self) -> "Engine | None":
        """An engine whose sub-stacks hold half as many runs, for lack of memory; None where `size` is 1."""

    @property
    def precision(self) -> Precision:
        """Of products and convolutions."""

    def evaluation_batch_size(self, *, on_cpu: bool) -> int:
        """Examples that each model is evaluated on at a time. It can change the last bit of a logit."""

    def start(self, campaign: Campaign, data: DeviceData, runs: Sequence[Run]) -> Trainer:
        """The models of `size` runs before their first update.

        Raises ModelError where training them on a CPU would take more memory than its user allows.
        """

    def start_next(self, campaign: Campaign, data: DeviceData, runs: Sequence[Run]) -> Trainer:
        """As `start`; it may take over the trainer that it returned before, which then must not be used any more."""

    def prepare(self, campaign: Campaign, data: DeviceData, runs: Sequence[Run]) -> None:
        """Draw in the background what `start_next` needs for the first `size` of these runs. Changes no bit."""

    def train(
        self, campaign: Campaign, data: DeviceData, runs: Sequence[Run], checkpoints: Checkpoints = NO_CHECKPOINTS
    ) -> list[RunResult]:
        """One result per run, with the epochs that `campaign.recorded_epochs()` names.

        A run whose loss is not finite ends at that epoch, with status `diverged`. Errors of user code propagate.
        """


def train_in_stacks(
    engine: Engine, campaign: Campaign, data: DeviceData, runs: Sequence[Run], checkpoints: Checkpoints
) -> list[RunResult]:
    """See `Engine.train`. Whole sub-stacks are trained; the results of runs that are not requested are dropped."""
    results: dict[Run, RunResult] = {}
    with deterministic(data.device, engine.precision):
        requested = sub_stacks(runs, engine.size, engine.stack_size)
        for number, sub_stack in enumerate(requested):
            start = partial(engine.start_next, campaign, data, sub_stack)
            training = checkpoints.resume(partial(StackTraining, campaign, sub_stack, data, start))
            for following in requested[number + 1 : number + 2]:
                engine.prepare(campaign, data, following)
            while not training.done:
                training.advance()
                checkpoints.on_epoch_end(training)
            results |= {result.run: result for result in training.results()}
    return [results[run] for run in runs]


def sub_stacks(runs: Sequence[Run], size: int, stack_size: int) -> list[list[Run]]:
    """The sub-stacks of at most `size` runs that contain any of the runs.

    The stacks of a ratio are its repetitions 0..stack_size-1, the next `stack_size`, and so on. Each is divided into
    sub-stacks, the last of which may be smaller.
    """
    blocks = groupby(
        sorted(runs),
        lambda run: (run.ratio_ppm, run.repetition // stack_size, run.repetition % stack_size // size * size),
    )
    return [
        [Run(ratio_ppm, stack * stack_size + place) for place in range(first, min(first + size, stack_size))]
        for (ratio_ppm, stack, first), _ in blocks
    ]
