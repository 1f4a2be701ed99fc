"""Runs trials with Ray Tune: placement, early stopping (ASHA), lost workers.

ASHA: Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020. Tune keeps its own state (pickles)
in a folder that is thrown away: what counts is the listener's record of finished trials. A search that goes on tells
ASHA about these, so that new trials are compared with them, and trains only the others.
"""

import logging
import os
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Protocol

from ray import tune
from ray.tune.result import DONE
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler

from orchestrator.runners.ray.cluster import extend_path, search_path
from orchestrator.runners.ray.session import ray_session
from orchestrator.runners.run_options import ClusterOptions
from orchestrator.tuning.trial import EpochMetrics, Trial, TrialTrainer
from workers.errors import LongtailError
from workers.user_code.boundary import check_interruption, describe_error, format_traceback

REDUCTION_FACTOR = 3
"""The best third of the trials at each rung continues."""

_MAX_LOST = 5
_SCORE = "score"
_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is answered by the command
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths of the campaign's own code stay as they are
}


class TrialListener(Protocol):
    """Receives the events of trials, in the driver."""

    def on_epoch_end(self, key: str, metrics: EpochMetrics) -> None:
        """A trial trained an epoch. Epoch 1 may come again, where a worker was lost."""

    def on_end(self, key: str) -> None:
        """A trial ended by itself, as its last metrics say."""

    def on_stop(self, key: str) -> None:
        """ASHA stopped a trial: others have higher scores."""

    def on_failure(self, key: str, message: str, details: str) -> None:
        """A trial could not be trained; `details` is a traceback."""

    def should_stop(self) -> bool:
        """Whether to stop all running trials and start no more."""


@dataclass(frozen=True)
class Asha:
    """Stops trials that are behind, at epochs `grace`, 3 grace, 9 grace, ... up to `max_epochs`."""

    max_epochs: int

    @property
    def grace(self) -> int:
        """Epochs that every trial may train."""
        return max(1, self.max_epochs // 10)

    def scheduler(self, finished: Mapping[str, Sequence[EpochMetrics]]) -> AsyncHyperBandScheduler:
        """Tune's scheduler, which knows the trials that are finished already."""
        made = AsyncHyperBandScheduler(
            time_attr="epoch",
            metric=_SCORE,
            mode="max",
            max_t=self.max_epochs,
            grace_period=self.grace,
            reduction_factor=REDUCTION_FACTOR,
        )
        for key, epochs in finished.items():
            trial = SimpleNamespace(trial_id=key)
            made.on_trial_add(None, trial)
            for metrics in epochs:
                made.on_trial_result(None, trial, {"epoch": metrics.epoch, _SCORE: _score(metrics)})
        return made


@contextmanager
def cluster(options: ClusterOptions) -> Iterator["TrialRunner"]:
    """Connected to a cluster, or to one of its own, for as long as this lasts. Raises ClusterError."""
    former = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    try:
        with ray_session(options) as session:
            session.check_slots()
            yield TrialRunner(session.workers, session.gpus)
    finally:
        for name, value in former.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@dataclass(frozen=True)
class TrialRunner:
    """Runs `workers` trials at a time, with `gpus` GPUs each, or one CPU where that is 0."""

    workers: int
    gpus: float

    def run(
        self,
        trials: Sequence[Trial],
        listener: TrialListener,
        asha: Asha | None = None,
        finished: Mapping[str, Sequence[EpochMetrics]] | None = None,
    ) -> None:
        """Train trials, the first ones first; with `asha` those behind, also `finished` ones, are stopped early."""
        if not trials:
            return
        scheduler = asha.scheduler(finished or {}) if asha else FIFOScheduler()
        device = "cuda" if self.gpus else "cpu"
        texts = {trial.key: trial.model_dump_json() for trial in trials}
        trainable = tune.with_parameters(_Trainable, trials=texts, device=device, path=search_path())
        resources = {"cpu": 0, "gpu": self.gpus} if self.gpus else {"cpu": 1}
        with _quiet(), tempfile.TemporaryDirectory(prefix="longtail-tune-") as scratch:
            tune.Tuner(
                tune.with_resources(trainable, resources),
                param_space={"trial": tune.grid_search(list(texts))},
                tune_config=tune.TuneConfig(
                    scheduler=scheduler,
                    max_concurrent_trials=self.workers,
                    reuse_actors=True,
                    trial_name_creator=_name,
                    trial_dirname_creator=_name,
                ),
                run_config=tune.RunConfig(
                    name="search",
                    storage_path=scratch,
                    verbose=0,
                    callbacks=[_ListenerCallback(listener)],
                    stop=_ListenerStopper(listener),
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                    failure_config=tune.FailureConfig(max_failures=_MAX_LOST - 1),
                ),
            ).fit()


class _Trainable(tune.Trainable):  # type: ignore[misc]
    """Trains one trial after the other in a worker's process; a step is an epoch."""

    def setup(
        self, config: dict[str, Any], trials: Mapping[str, str] = {}, device: str = "cpu", path: Sequence[str] = ()
    ) -> None:
        extend_path(path)
        self._trials = trials
        self._trainer = TrialTrainer(device)
        self._epochs: Generator[EpochMetrics] | None = None
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.cleanup()
        self._key = new_config["trial"]
        return True

    def step(self) -> dict[str, Any]:
        try:
            if self._epochs is None:
                self._epochs = self._trainer.epochs(Trial.model_validate_json(self._trials[self._key]))
            metrics = next(self._epochs)
        except BaseException as error:  # noqa: BLE001 - the boundary at which the campaign's own code is reported
            check_interruption(error)
            message = str(error) if isinstance(error, LongtailError) else describe_error(error)
            return {"failed": message, "details": format_traceback(error), "epoch": 0, _SCORE: 0.0, DONE: True}
        plain = metrics.model_dump()
        return {"metrics": plain, "epoch": metrics.epoch, _SCORE: _score(metrics), DONE: metrics.ended is not None}

    def cleanup(self) -> None:
        if self._epochs is not None:
            self._epochs.close()  # restores torch's settings
        self._epochs = None


def _score(metrics: EpochMetrics) -> float:
    """What ASHA compares: the mean of subset and held-out accuracy; 0 after divergence."""
    if metrics.loss is None:
        return 0.0
    return (metrics.subset_accuracy + metrics.heldout_accuracy) / 2


class _HasListener:
    """Holds a listener, which is left out of the state that Tune pickles."""

    def __init__(self, listener: TrialListener) -> None:
        self._listener = listener

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _ListenerCallback(_HasListener, tune.Callback):  # type: ignore[misc]
    """Forwards Tune's events to the listener."""

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        if "metrics" in result:
            self._listener.on_epoch_end(trial.config["trial"], EpochMetrics.model_validate(result["metrics"]))

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        result, key = trial.last_result or {}, trial.config["trial"]
        if "failed" in result:
            self._listener.on_failure(key, result["failed"], result["details"])
        elif result.get("metrics", {}).get("ended"):
            self._listener.on_end(key)
        elif not self._listener.should_stop():
            self._listener.on_stop(key)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        message = f"the worker's process died {_MAX_LOST} times while it trained this trial"
        self._listener.on_failure(trial.config["trial"], message, str(trial.get_error() or message))


class _ListenerStopper(_HasListener, tune.Stopper):  # type: ignore[misc]
    """Ends the search when `TrialListener.should_stop` is true."""

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._listener.should_stop()


def _name(trial: Any) -> str:
    return f"trial-{trial.config['trial']}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Tune's loggers: the listener reports errors that the user can fix."""
    loggers = [logging.getLogger(name) for name in ("ray.tune", "ray.train", "ray.air")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
