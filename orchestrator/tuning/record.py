"""Folder of a recipe search: settings, finished trials, tracebacks, TensorBoard logs.

    search.json              what is searched; a search goes on only where this is the same
    trials/00012.json        a finished trial: the values searched, its metrics after each epoch, and how it ended
    errors/00012.txt         the traceback of a trial that could not be trained; trained again next time
    tensorboard/00012/       its curves, and the values as hyperparameters (HParams)
    trials.parquet           all of it as a table, which grows while the search runs
Files are written whole or not at all, one for each trial, when it ends: a search killed at any moment loses no more
than the trials that were running.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Literal

from filelock import FileLock, Timeout
from pydantic import Field, JsonValue, ValidationError
from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

from orchestrator.tuning.field_values import scalar
from orchestrator.tuning.trial import EpochMetrics
from workers.campaign.field_types import Frozen
from workers.campaign.fields import differences
from workers.errors import CampaignError, DamagedFileError, LongtailError
from workers.store.files.fsync import sync_folder


class FinishedTrial(Frozen):
    """A trial that will not be trained again. `stopped`: ASHA stopped it."""

    key: str
    ended: Literal["fitted", "unfitted", "diverged", "stopped"]
    epochs: list[EpochMetrics]
    values: dict[str, JsonValue] = Field(default_factory=dict)
    """Of the fields that are searched, such as `recipe.batch_size`."""

    @property
    def last(self) -> EpochMetrics:
        """The metrics that it ended with."""
        return self.epochs[-1]

    @property
    def seconds(self) -> float:
        """Of one run's training: the median epoch, times the epochs, since other programs disturb some."""
        return median(epoch.seconds for epoch in self.epochs) * len(self.epochs)


class SearchRecord:
    """The folder of one search."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.finished: dict[str, FinishedTrial] = {}

    @contextmanager
    def opened(self, description: Mapping[str, Any]) -> Iterator[None]:
        """Make the folder, or go on in it, alone.

        Raises CampaignError where it is another search's, with a line for each difference; DamagedFileError;
        LongtailError where it cannot be written, or another process is at work in it.
        """
        with self._writing():
            (self.root / "trials").mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.root / "_lock", timeout=0)
            try:
                lock.acquire()
            except Timeout:
                raise LongtailError(f"{self.root}: another `longtail tune` is at work in this folder") from None
        try:
            self._check(dict(description))
            self.finished = {trial.key: trial for trial in self._read()}
            yield
        finally:
            lock.release()

    def finish(self, trial: FinishedTrial) -> None:
        """Keep a finished trial. Raises LongtailError."""
        with self._writing():
            self._log(trial)  # first: a kill before the trial's file leaves a trial that is trained, and logged, again
        self._write(self.root / "trials" / f"{trial.key}.json", trial.model_dump_json())
        with self._writing():
            self._error_file(trial.key).unlink(missing_ok=True)
        self.finished[trial.key] = trial

    def fail(self, key: str, details: str) -> Path:
        """Keep a traceback; returns where. Raises LongtailError."""
        with self._writing():
            self._error_file(key).parent.mkdir(exist_ok=True)
        self._write(self._error_file(key), details)
        return self._error_file(key)

    def _error_file(self, key: str) -> Path:
        return self.root / "errors" / f"{key}.txt"

    def _check(self, description: dict[str, Any]) -> None:
        path = self.root / "search.json"
        description = json.loads(json.dumps(description))
        if not path.exists():
            self._write(path, json.dumps(description, indent=1))
            return
        try:
            theirs = json.loads(path.read_bytes())
        except ValueError as error:
            raise DamagedFileError(f"{path}: is damaged: {error}") from error
        except OSError as error:
            raise LongtailError(f"{path}: cannot be read: {error.strerror}") from error
        lines = [
            f"{self.root}: holds another search: {field} was {was!r}, now {now!r} (--results takes another folder)"
            for field, now, was in differences(description, theirs if isinstance(theirs, dict) else {})
        ]
        if lines:
            raise CampaignError("\n".join(lines))

    def _read(self) -> Iterator[FinishedTrial]:
        for path in sorted((self.root / "trials").glob("[!_]*.json")):
            try:
                trial = FinishedTrial.model_validate_json(path.read_bytes())
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                raise DamagedFileError(
                    f"{path}: is damaged: {'.'.join(map(str, first['loc']))}: {first['msg']}; without it the trial is "
                    "trained again"
                ) from error
            except OSError as error:
                raise LongtailError(f"{path}: cannot be read: {error.strerror}") from error
            if trial.key != path.stem or not trial.epochs:
                raise DamagedFileError(f"{path}: is damaged: it is not trial {path.stem}'s")
            yield trial

    def _write(self, path: Path, text: str) -> None:
        with self._writing():
            unfinished = path.with_name(f"_{path.name}")
            with unfinished.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
            sync_folder(path.parent)

    def _log(self, trial: FinishedTrial) -> None:
        """The curves and hyperparameters as TensorBoard reads them, written anew, so that no step is there twice."""
        folder = self.root / "tensorboard" / trial.key
        shutil.rmtree(folder, ignore_errors=True)
        metrics = ("subset accuracy", "held-out accuracy", "operations of a run", "seconds of an epoch")
        with SummaryWriter(str(folder)) as writer:
            # `SummaryWriter.add_hparams` would make a run of its own, beside the one that has the curves.
            values = {field: scalar(value) for field, value in trial.values.items()} | {"epochs": trial.last.epoch}
            for summary in hparams(values, dict.fromkeys(metrics, 0.0)):
                writer.file_writer.add_summary(summary)
            for now in trial.epochs:
                measured = (now.subset_accuracy, now.heldout_accuracy, now.operations, now.seconds)
                for name, value in zip(metrics, measured, strict=True):
                    writer.add_scalar(name, value, now.epoch)
                if now.loss is not None:
                    writer.add_scalar("training loss", now.loss, now.epoch)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise LongtailError(f"{self.root}: cannot be written: {error.strerror or error}") from error
