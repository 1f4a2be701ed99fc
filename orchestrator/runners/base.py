"""Interface of runners: pending shards in, outcomes out."""

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from orchestrator.runners.run_options import CHECKPOINT_MINUTES
from workers.campaign.campaign import Campaign
from workers.campaign.keys import Shard
from workers.training import Precision
from workers.training.hardware import Machine
from workers.training.shard import ShardError, ShardSummary
from workers.training.stack_choice import StackChoice

MAX_ATTEMPTS = 2
"""How often a shard whose code raises is tried: twice, since what exhausted memory once may fit the next time."""


@dataclass(frozen=True)
class Job:
    """The parameters of a campaign that every worker receives."""

    campaign: Campaign
    store_uri: str
    checkpoint_minutes: float | None = CHECKPOINT_MINUTES
    """Time between two checkpoints of a shard in training; 0: one after every epoch; None: never."""
    operations: Mapping[int, float] = field(default_factory=dict)
    """Floating-point operations of a run at each ratio (parts per million); empty where they are unknown."""


@dataclass(frozen=True)
class FailedShard:
    """A shard that failed `attempts` times; the last error."""

    error: ShardError
    attempts: int


@dataclass(frozen=True)
class WorkersChanged:
    """The numbers of ready workers, of their nodes, and of workers lost so far.

    `by_node` has the ready ones of each node by its name, where they are on nodes of a cluster.
    """

    ready: int
    lost: int
    nodes: int = 1
    by_node: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Note:
    """A warning that does not end the campaign, shown at its end."""

    text: str


@dataclass(frozen=True)
class Placement:
    """A line that says where shards train from now on, and why."""

    text: str


Outcome = ShardSummary | FailedShard | WorkersChanged | Note | Placement


class Runner(Protocol):
    """Trains shards. Closing the generator early stops all work; what is committed stays."""

    def machine(self) -> Machine:
        """The machine that its workers train on."""

    def fastest_stack(self, campaign: Campaign, sizes: Sequence[int], precision: Precision) -> StackChoice:
        """The stack, of a size among `sizes` at most, that trains most models per second on a worker. Measured."""

    def run(self, job: Job, shards: Sequence[Shard]) -> Generator[Outcome, None, None]:
        """Yield one ShardSummary or FailedShard per shard, in order of completion, and what happens to workers.

        Raises StoreError, DataError.
        """


@runtime_checkable
class ClosableRunner(Protocol):
    """A runner that stays connected between calls."""

    def close(self) -> None:
        """Disconnect; a later call connects again."""


class Attempts:
    """Counts the failures of each shard."""

    def __init__(self, limit: int = MAX_ATTEMPTS) -> None:
        self.limit = limit
        self._failed: Counter[Shard] = Counter()

    def record_failure(self, error: ShardError) -> FailedShard | None:
        """Count a failure; FailedShard once the shard has no attempt left, else None: try it again."""
        self._failed[error.shard] += 1
        attempts = self._failed[error.shard]
        return FailedShard(error, attempts) if attempts >= self.limit else None
