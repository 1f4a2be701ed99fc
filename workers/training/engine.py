"""What an engine is: trains the runs of one shard and tells which examples each model gets right."""

from collections.abc import Sequence
from typing import Protocol

from workers.campaign import Campaign
from workers.device_data import DeviceData
from workers.runs import Run
from workers.store import RunResult
from workers.training.recording import Trainer


class Engine(Protocol):
    """Trains runs. Every draw comes from the runs' own streams (`workers.subsets`), never from shared state."""

    @property
    def size(self) -> int:
        """Runs that train as one program."""

    def start(self, campaign: Campaign, data: DeviceData, runs: Sequence[Run]) -> Trainer:
        """The models of `size` runs before their first update."""

    def train(self, campaign: Campaign, data: DeviceData, runs: Sequence[Run]) -> list[RunResult]:
        """One result per run, with the epochs that `campaign.recorded_epochs()` names.

        A run whose loss is not finite ends at that epoch, with status `diverged`. Errors of user code propagate.
        """
