"""Prepares stacks in background threads while the device trains the stack before: weights, subsets, first orders.

All of that is drawn from the runs' own streams, so that it does not matter when and in which thread. Models of the
user's own are left out, since their code may do anything to the process, and so are CPUs, whose cores are all busy.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run
from workers.campaign.model_spec import CustomModel
from workers.training.device_data import DeviceData
from workers.training.minibatch_streams import MinibatchStreams
from workers.training.model_init import DrawnModel, complete_model, draw_model, initial_model

_THREADS = 4
"""Kernels that draw weights hold no lock of Python's."""

_WAITING = 3
"""Stacks at most: the one that starts, the next one of its shard, and the first of the next shard."""


@dataclass(frozen=True)
class PreparedStack:
    """The initial models and the streams of a stack of runs."""

    models: Sequence[nn.Module]
    streams: Sequence[MinibatchStreams]
    stacked: Mapping[str, torch.Tensor] | None = None

    def values(self) -> Mapping[str, torch.Tensor]:
        """Parameters and buffers [K, ...] by the models' own names, on the host."""
        return self.stacked or stacked_values(self.models)


@dataclass(frozen=True)
class _Drawn:
    models: Sequence[DrawnModel]
    streams: Sequence[MinibatchStreams]
    stacked: Mapping[str, torch.Tensor] | None
    """In pinned memory for a GPU; None where the models are not complete without the device."""


class StackPreparation:
    """Prepares the next stacks of an engine. `overlap`: in the background; None: in the background for a GPU alone."""

    def __init__(self, overlap: bool | None = None) -> None:
        self._overlap = overlap
        self._lock = threading.Lock()
        self._waiting: dict[tuple[Run, ...], tuple[Campaign, DeviceData, Future[_Drawn]]] = {}

    def begin(self, campaign: Campaign, data: DeviceData, runs: Sequence[Run]) -> None:
        """Prepare these runs in the background. Does nothing for the same runs again, or where nothing is gained."""
        overlap = data.device.type == "cuda" if self._overlap is None else self._overlap
        if not overlap or isinstance(campaign.model, CustomModel):
            return
        with self._lock:
            if tuple(runs) in self._waiting:
                return
            while len(self._waiting) >= _WAITING:  # of shards that were given to another worker
                del self._waiting[next(iter(self._waiting))]
            self._waiting[tuple(runs)] = (campaign, data, _in_thread(partial(_draw, campaign, data, runs)))

    def take(self, campaign: Campaign, data: DeviceData, runs: Sequence[Run]) -> PreparedStack:
        """The prepared stack of these runs, drawn now where it is not prepared. Raises what the preparation raised.

        torch's global generators are left as `initial_model` leaves them.
        """
        self.begin(campaign, data, runs)
        with self._lock:
            waiting = self._waiting.pop(tuple(runs), None)
        if waiting is None or waiting[0] is not campaign or waiting[1] is not data:
            complete = [initial_model(campaign, data, run) for run in runs]
            return PreparedStack(complete, [MinibatchStreams(campaign, data, run) for run in runs])
        drawn = waiting[2].result()
        models = [complete_model(each, campaign, data, run) for each, run in zip(drawn.models, runs, strict=True)]
        return PreparedStack(models, drawn.streams, drawn.stacked)


def stacked_values(models: Sequence[nn.Module], *, pinned: bool = False) -> dict[str, torch.Tensor]:
    """Parameters and buffers of models of one architecture, by name, [K, ...]."""
    states = [{**dict(model.named_parameters()), **dict(model.named_buffers())} for model in models]
    values = {}
    for name, first in states[0].items():
        values[name] = torch.empty((len(models), *first.shape), dtype=first.dtype, pin_memory=pinned)
        torch.stack([state[name].detach() for state in states], out=values[name])
    return values


def _draw(campaign: Campaign, data: DeviceData, runs: Sequence[Run]) -> _Drawn:
    with ThreadPoolExecutor(min(_THREADS, len(runs))) as threads:
        models = list(threads.map(partial(draw_model, campaign, data), runs))
        streams = list(threads.map(partial(_draw_streams, campaign, data), runs))
    stacked = None
    if len(runs) > 1 and not campaign.recipe.initialization.whitening:
        stacked = stacked_values([each.model for each in models], pinned=data.device.type == "cuda")
    return _Drawn(models, streams, stacked)


def _draw_streams(campaign: Campaign, data: DeviceData, run: Run) -> MinibatchStreams:
    streams = MinibatchStreams(campaign, data, run)
    streams.draw_ahead()
    return streams


def _in_thread(action: Callable[[], _Drawn]) -> "Future[_Drawn]":
    """The future of an action in a thread that ends with it."""
    executor = ThreadPoolExecutor(1, thread_name_prefix="longtail-preparation")
    future = executor.submit(action)
    executor.shutdown(wait=False)
    return future
