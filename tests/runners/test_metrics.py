"""What a campaign reports to Prometheus, and the dashboard that shows it."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import promql_parser
import pytest

from benchmarks.isolation import finish, start
from orchestrator.runners.ray.metrics import exported_names
from tests.manifests import DEPLOY, with_unknown_keys

DASHBOARD = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
# Only where there is an NVIDIA GPU; compared with the names that Ray's own code declares.
NEEDS_A_GPU = {"ray_node_gpus_utilization"}


def expressions() -> list[str]:
    """The dashboard's PromQL, its variables filled in."""
    texts = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return [text.replace("$__rate_interval", "1m").replace("$store", ".*") for text in texts]


def shown_names() -> set[str]:
    return {name for text in expressions() for name in re.findall(r"\bray_\w+", text)}


# A driver's life in short, on a real Ray node with two pretended GPUs, one of them in use; prints what is scraped.
SCRIPT = """
import json, sys, time, urllib.request
import ray
from orchestrator.runners.ray.metrics import CampaignMetrics
from orchestrator.runners.base import FailedShard, WorkersChanged
from workers.campaign.keys import Shard
from workers.training.shard import ShardError, ShardSummary

ray.init("local",
         num_cpus=1, num_gpus=2, include_dashboard=False, object_store_memory=100 * 2**20, _metrics_export_port=18080,
         log_to_driver=False, _system_config={"metrics_report_interval_ms": 1000})
metrics = CampaignMetrics("s3://KEY:HIDDEN@bucket/mnist?secret=HIDDEN")
metrics.observe(WorkersChanged(ready=2, lost=0))
metrics.observe(WorkersChanged(ready=1, lost=3))
metrics.observe(WorkersChanged(ready=2, lost=4, nodes=2))
metrics.observe(ShardSummary(Shard(500_000, 0, 4), 1, seconds=3.5, bytes=1000))
metrics.observe(ShardSummary(Shard(500_000, 4, 8), 0, seconds=1.0, bytes=0))
metrics.observe(FailedShard(ShardError(Shard(500_000, 8, 12), "user", "", ""), 2))
metrics.shards(pending=3, running=2)

holder = ray.remote(num_gpus=1)(type("Holder", (), {"here": lambda self: True})).remote()
ray.get(holder.here.remote())
requested, text, deadline = set(json.loads(sys.argv[1])), "", time.monotonic() + 60

def is_all_there():
    # Ray reports on its own time: the names first, and what the actor holds a while after it started.
    used = [line for line in text.splitlines() if line.startswith("ray_resources{") and 'State="USED"' in line]
    held = any('Name="GPU"' in line and float(line.split()[-1]) == 1 for line in used)
    return held and all(name + "{" in text for name in requested)

while time.monotonic() < deadline and not is_all_there():
    try:
        text = urllib.request.urlopen("http://127.0.0.1:18080/metrics", timeout=5).read().decode()
    except OSError:
        pass
    time.sleep(0.2)
print("SCRAPED")
print(text)
"""


def scraped(home: Path) -> list[tuple[str, dict[str, str], float]]:
    """(name, labels, value) of every sample at the metrics port of a real node, once all that is shown is there."""
    requested = json.dumps(sorted((exported_names() | shown_names()) - NEEDS_A_GPU))
    code, output = finish(start([sys.executable, "-c", SCRIPT, requested], home))
    assert code == 0, output
    samples = re.findall(r"^(\w+)\{(.*)\} (\S+)$", output.partition("SCRAPED\n")[2], flags=re.MULTILINE)
    return [(name, dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value)) for name, labels, value in samples]


@pytest.mark.ray
def test_what_a_driver_reports_is_scraped_and_everything_shown_exists(tmp_path: Path) -> None:
    from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES

    found = scraped(tmp_path)
    ours = [(name, labels, value) for name, labels, value in found if name.startswith("ray_longtail_")]
    assert {labels["store"] for _, labels, _ in ours} == {"s3://bucket/mnist"}
    assert exported_names() <= {name for name, _, _ in ours}
    assert {name: value for name, labels, value in ours if "le" not in labels and not name.endswith("_sum")} == {
        "ray_longtail_runs_total": 8,
        "ray_longtail_runs_diverged_total": 1,
        "ray_longtail_shards_committed_total": 2,
        "ray_longtail_shards_failed_total": 1,
        "ray_longtail_store_bytes_total": 1000,
        "ray_longtail_training_seconds_total": 4.5,
        "ray_longtail_workers_lost_total": 4,
        "ray_longtail_workers": 2,
        "ray_longtail_nodes": 2,
        "ray_longtail_shards_pending": 3,
        "ray_longtail_shards_running": 2,
        "ray_longtail_shard_seconds_count": 2,
    }
    assert shown_names() - NEEDS_A_GPU <= {name for name, _, _ in found}
    assert {name.removeprefix("ray_") for name in NEEDS_A_GPU} <= set(METRICS_GAUGES)
    assert exported_names() - shown_names() == {"ray_longtail_shard_seconds_count"}, "reported and not shown"
    gpus = {
        labels["State"]: value for name, labels, value in found if name == "ray_resources" and labels["Name"] == "GPU"
    }
    assert gpus == {"USED": 1, "AVAILABLE": 1}
    assert all("ip" in labels for name, labels, _ in found if name in shown_names() and name.startswith("ray_node_"))


def test_expressions_are_promql() -> None:
    for text in expressions():
        promql_parser.parse(text)


def through_grafanas_types(document: Any) -> Any:
    """A dashboard read into Grafana's own types and written again: what these do not know is gone."""
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()
    return json.loads(json.dumps(Dashboard.from_json(document), cls=JSONEncoder))


def lost(before: Any, after: Any, path: str = "") -> list[str]:
    """Where something of `before` is missing or another in `after`."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [where for key in before for where in (lost(before[key], after.get(key), f"{path}.{key}"))]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [where for place, part in enumerate(before) for where in lost(part, after[place], f"{path}.{place}")]
    return [] if before == after else [path]


@pytest.mark.slow
def test_grafana_knows_every_key() -> None:
    assert lost(DASHBOARD, through_grafanas_types(DASHBOARD)) == []
    smaller = {**DASHBOARD, "panels": [DASHBOARD["panels"][0], DASHBOARD["panels"][6]]}
    # A query variable's query and current value belong to its data source: Grafana's types leave them open.
    free = frozenset({"query", "current"})
    changed = [other for _, other in with_unknown_keys(smaller, free)]
    assert all(lost(other, through_grafanas_types(other)) for other in changed)
    assert len(changed) > 20


def test_the_dashboards_panels() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells), "panels overlap"
    assert max(x for x, _ in cells) < 24
    assert {panel["datasource"]["uid"] for panel in panels} == {"${datasource}"}
    assert {variable["name"] for variable in DASHBOARD["templating"]["list"]} == {"datasource", "store"}


@pytest.mark.slow
def test_a_shards_summary_carries_bytes_and_seconds(tmp_path: Path) -> None:
    from orchestrator import run_campaign
    from tests.conftest import small_campaign
    from workers.campaign.keys import Shard
    from workers.training.shard import ShardSummary, Worker

    campaign = small_campaign()
    run_campaign(campaign, tmp_path / "s", repetitions=1)
    worker = Worker(campaign, str(tmp_path / "s"), "cpu")
    (path,) = (tmp_path / "s" / "results").glob("r200000-*.parquet")
    again, new = worker.attempt(Shard(200_000, 0, 1)), worker.attempt(Shard(200_000, 1, 2))
    assert isinstance(again, ShardSummary) and isinstance(new, ShardSummary)
    assert (again.bytes, path.name) == (0, "r200000-000000-000001.parquet")
    assert new.bytes == (tmp_path / "s" / "results" / "r200000-000001-000002.parquet").stat().st_size
    assert new.seconds > 0
