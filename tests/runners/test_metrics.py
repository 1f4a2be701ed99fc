"""What a campaign reports to Prometheus, and the dashboard that shows it."""

import json
import re
from pathlib import Path
from typing import Any

import promql_parser
import pytest

from orchestrator.runners.ray.metrics import exported_names
from tests.manifests import with_unknown_keys
from tests.scraped_metrics import DASHBOARD, NEEDS_A_GPU, expressions, shown_names


def scraped(text: str) -> list[tuple[str, dict[str, str], float]]:
    """(name, labels, value) of every sample."""
    samples = re.findall(r"^(\w+)\{(.*)\} (\S+)$", text, flags=re.MULTILINE)
    return [(name, dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value)) for name, labels, value in samples]


@pytest.mark.ray
def test_what_a_driver_reports_is_scraped_and_everything_shown_exists(one_cluster: Path) -> None:
    from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES

    text = (one_cluster / "metrics.txt").read_text()
    assert "HIDDEN" not in text
    found = scraped(text)
    ours = [sample for sample in found if sample[1].get("store") == "s3://bucket/mnist"]
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
