"""What the dashboard shows, and what Prometheus finds at the metrics port of a node where a driver reports its work.

    python -m tests.scraped_metrics HOST:PORT

Prints that. In a process of its own: where one connects to Ray several times, Ray reports its figures as often.
"""

import json
import re
import sys
import time
import urllib.request
from contextlib import suppress

import ray

from orchestrator.runners.base import FailedShard, WorkersChanged
from orchestrator.runners.ray.metrics import CampaignMetrics, exported_names
from tests.manifests import DEPLOY
from workers.campaign.keys import Shard
from workers.training.shard import ShardError, ShardSummary

DASHBOARD = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
# Only where there is an NVIDIA GPU; compared with the names that Ray's own code declares.
NEEDS_A_GPU = {"ray_node_gpus_utilization"}

METRICS_PORT = 6398
_STORE = "s3://KEY:HIDDEN@bucket/mnist?secret=HIDDEN"
_SECONDS = 60.0


def expressions() -> list[str]:
    """The dashboard's PromQL, its variables filled in."""
    texts = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return [text.replace("$__rate_interval", "1m").replace("$store", ".*") for text in texts]


def shown_names() -> set[str]:
    """The metrics in them."""
    return {name for text in expressions() for name in re.findall(r"\bray_\w+", text)}


class Holder:
    """An actor."""

    def started(self) -> bool:
        """True."""
        return True


def _report(metrics: CampaignMetrics) -> None:
    """A driver's life in short."""
    metrics.observe(WorkersChanged(ready=2, lost=0))
    metrics.observe(WorkersChanged(ready=1, lost=3))
    metrics.observe(WorkersChanged(ready=2, lost=4, nodes=2))
    metrics.observe(ShardSummary(Shard(500_000, 0, 4), 1, seconds=3.5, bytes=1000))
    metrics.observe(ShardSummary(Shard(500_000, 4, 8), 0, seconds=1.0, bytes=0))
    metrics.observe(FailedShard(ShardError(Shard(500_000, 8, 12), "user", "", ""), 2))
    metrics.shards(pending=3, running=2)


def _complete(text: str) -> bool:
    """Is all there that is shown. Ray reports on its own time: names first, and later what an actor holds."""
    used = [line for line in text.splitlines() if line.startswith("ray_resources{") and 'State="USED"' in line]
    held = any('Name="GPU"' in line and float(line.split()[-1]) == 1 for line in used)
    names = (exported_names() | shown_names()) - NEEDS_A_GPU
    return held and all(f"{name}{{" in text for name in names) and 'store="s3://bucket/mnist"' in text


def scrape(address: str) -> str:
    """The text at the metrics port, after a driver reported on a node with two pretended GPUs, one of them in use."""
    ray.init(address, log_to_driver=False)
    _report(CampaignMetrics(_STORE))
    holder = ray.remote(num_gpus=1)(Holder).remote()
    ray.get(holder.started.remote())
    text, deadline = "", time.monotonic() + _SECONDS
    while time.monotonic() < deadline and not _complete(text):
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{METRICS_PORT}/metrics", timeout=5) as page:
            text = page.read().decode()
        time.sleep(0.2)
    ray.shutdown()
    return text


if __name__ == "__main__":
    print(scrape(sys.argv[1]))
