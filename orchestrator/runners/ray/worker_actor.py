"""Ray actor that trains shards."""

from collections.abc import Sequence
from dataclasses import dataclass

import ray
import torch

from orchestrator.runners.base import Job
from orchestrator.runners.ray.cluster import extend_path
from orchestrator.runners.ray.preflight import ClusterError
from workers.campaign.keys import Shard
from workers.errors import FAILED, LongtailError
from workers.store.failures import MAX_MESSAGE, MAX_TRACEBACK
from workers.training.loop import device_name
from workers.training.shard import ShardError, ShardSummary, Worker
from workers.user_code.boundary import check_interruption, format_traceback
from workers.user_code.text_limits import shortened


@dataclass(frozen=True)
class LoadProblem:
    """Why a worker cannot load the campaign: a LongtailError's message, else a traceback; and the exit code."""

    text: str
    exit_code: int = FAILED


class WorkerActor:
    """A worker in a process of its own. Loads its data at the first call, so that errors there are reported."""

    def __init__(self, job: Job, device: str, path: Sequence[str]) -> None:
        extend_path(path)
        self._job = job
        self._device = device
        self._worker: Worker | None = None

    def load(self) -> tuple[str, str, "LoadProblem | None"]:
        """Load the campaign: (node, hardware, None), or the problem in place of None."""
        node, kind = ray.get_runtime_context().get_node_id(), self._device
        problem: LoadProblem | None = None
        try:
            if self._device == "cuda" and not torch.cuda.is_available():
                raise ClusterError("Ray gave it a GPU that PyTorch cannot use (--device cpu trains on the CPU)")
            kind = device_name(torch.device(self._device))
            self._loaded()
        except LongtailError as error:
            problem = LoadProblem(shortened(str(error), MAX_MESSAGE), error.exit_code)
        except BaseException as error:  # noqa: BLE001 - the boundary at which the campaign's own code is reported
            check_interruption(error)
            problem = LoadProblem(shortened(format_traceback(error), MAX_TRACEBACK))
        return node, kind, problem

    def attempt(self, shard: Shard) -> ShardSummary | ShardError:
        """See `Worker.attempt`."""
        return self._loaded().attempt(shard)

    def _loaded(self) -> Worker:
        if self._worker is None:
            job = self._job
            self._worker = Worker(job.campaign, job.store_uri, self._device, job.checkpoint_minutes)
        return self._worker
