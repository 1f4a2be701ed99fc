"""Metrics of a campaign for Prometheus, exported through Ray at the metrics port of the driver's node.

Ray puts `ray_` before each name and `_total` behind a counter's. The driver alone reports, so that each figure is there
once. A driver that is started again counts from zero, which Prometheus' `rate` and `increase` expect of counters.
"""

from urllib.parse import urlsplit

from ray.util.metrics import Counter, Gauge, Histogram

from orchestrator.runners.base import FailedShard, Outcome, WorkersChanged
from workers.training.shard import ShardSummary

COUNTERS = {
    "longtail_runs": "Runs committed to the store.",
    "longtail_runs_diverged": "Committed runs whose loss was not finite.",
    "longtail_shards_committed": "Shards committed to the store.",
    "longtail_shards_failed": "Shards given up.",
    "longtail_store_bytes": "Bytes of results written to the store.",
    "longtail_training_seconds": "Seconds of training, summed over the workers.",
    "longtail_workers_lost": "Workers whose process or node died.",
}
GAUGES = {
    "longtail_shards_pending": "Shards that no worker has been sent.",
    "longtail_shards_running": "Shards that a worker has been sent.",
    "longtail_workers": "Workers that are ready.",
    "longtail_nodes": "Nodes that they are on.",
}
HISTOGRAMS = {"longtail_shard_seconds": "Seconds that the training of a shard took."}

_BOUNDARIES = [2.0**power for power in range(-2, 17, 2)]  # a quarter of a second to eighteen hours


def exported_names() -> set[str]:
    """The names under which Prometheus finds the figures.

    A histogram's sum is not among them: Ray adds up the middles of buckets. The counter of seconds is exact.
    """
    names = {f"ray_{name}_total" for name in COUNTERS} | {f"ray_{name}" for name in GAUGES}
    return names | {f"ray_{name}_{part}" for name in HISTOGRAMS for part in ("bucket", "count")}


class CampaignMetrics:
    """The metrics that one driver exports. Needs a connection to Ray."""

    def __init__(self, store_uri: str) -> None:
        """Every figure carries the label `store`: where the store is, without what a URI may say of credentials."""
        tags = {"store": _public(store_uri)}
        keys = tuple(tags)
        self._counters = {name: Counter(name, text, keys).set_default_tags(tags) for name, text in COUNTERS.items()}
        self._gauges = {name: Gauge(name, text, keys).set_default_tags(tags) for name, text in GAUGES.items()}
        self._histograms = {
            name: Histogram(name, text, _BOUNDARIES, keys).set_default_tags(tags) for name, text in HISTOGRAMS.items()
        }
        self._lost = 0

    def observe(self, outcome: Outcome) -> None:
        """Count what a runner yields; notes are not counted."""
        if isinstance(outcome, WorkersChanged):
            self._gauges["longtail_workers"].set(outcome.ready)
            self._gauges["longtail_nodes"].set(outcome.nodes)
            self._add("longtail_workers_lost", outcome.lost - self._lost)
            self._lost = outcome.lost
        elif isinstance(outcome, ShardSummary):
            self._add("longtail_runs", len(outcome.shard.runs))
            self._add("longtail_runs_diverged", outcome.diverged)
            self._add("longtail_shards_committed", 1)
            self._add("longtail_store_bytes", outcome.bytes)
            self._add("longtail_training_seconds", outcome.seconds)
            self._histograms["longtail_shard_seconds"].observe(outcome.seconds)
        elif isinstance(outcome, FailedShard):
            self._add("longtail_shards_failed", 1)

    def shards(self, *, pending: int, running: int) -> None:
        """Report how many shards wait for a worker, and how many were sent to one."""
        self._gauges["longtail_shards_pending"].set(pending)
        self._gauges["longtail_shards_running"].set(running)

    def _add(self, name: str, amount: float) -> None:
        if amount > 0:  # Ray's counters refuse 0
            self._counters[name].inc(amount)


def _public(uri: str) -> str:
    """A path, or a URI without user, password and query."""
    parts = urlsplit(uri)
    if not parts.scheme:
        return uri
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
