"""A cluster whose nodes come, are told to leave, and die, and at last its head. Run in namespaces of its own.

Prints a line for each step that was seen to work, and the error that ends the driver, which is this process. Ray's own
minute until it ends a driver is as Ray has it; Longtail's 20 seconds are cut to 3.
"""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from ray.cluster_utils import Cluster

from orchestrator import RunOptions, run_campaign
from orchestrator.campaigns.campaign_report import CampaignProgress
from orchestrator.runners.ray import head_watch
from tests.conftest import busy_campaign
from tests.manifests import DEPLOY
from tests.metadata_service import metadata_service

FAST_HEALTH_CHECKS = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 500,
    "health_check_failure_threshold": 3,
}


class Course:
    """What the driver said last; waits for something to be so."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.now = CampaignProgress(total=0, before=0)

    def show(self, progress: CampaignProgress) -> None:
        with self.changed:
            self.now = progress
            self.changed.notify_all()

    def wait(self, what: str, condition: Callable[[CampaignProgress], bool]) -> None:
        with self.changed:
            seen = self.changed.wait_for(lambda: condition(self.now), timeout=60)
        print(f"{what}: {seen}", flush=True)
        if not seen:
            raise SystemExit(1)


def take_back(address: str, node_id: str) -> None:
    """Tell a node that its machine is about to be taken away, as AWS does and as deploy/ hears of it."""
    with metadata_service() as service:
        service.announce_on_aws(600)
        command = [sys.executable, str(DEPLOY / "spot_watch.py"), "aws", address, "--node-id", node_id]
        command += ["--service", service.address, "--ray", str(Path(sys.executable).with_name("ray"))]
        subprocess.run(command, check=True, capture_output=True, timeout=60)


def main(store: str) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": FAST_HEALTH_CHECKS})
    course = Course()
    options = RunOptions(runner="ray", address=cluster.address, workers=4, repetitions=100_000, shard_size=1)

    def train() -> None:
        run_campaign(busy_campaign(), store, options, on_progress=course.show)

    driver = threading.Thread(target=train, daemon=True)
    driver.start()
    first = cluster.add_node(num_cpus=2)
    course.wait("two workers on the node that joined", lambda now: now.workers == 2 and now.trained >= 2)
    second = cluster.add_node(num_cpus=1)
    course.wait("a third on the next node", lambda now: (now.workers, now.nodes) == (3, 2))
    course.wait("nodes are told by name", lambda now: sorted(now.by_node.values()) == [1, 2])
    take_back(cluster.address, first.node_id)
    course.wait("its workers left the node that ends soon", lambda now: (now.workers, now.nodes) == (1, 1))
    cluster.remove_node(second, allow_graceful=False)
    course.wait("a node died", lambda now: now.workers_lost >= 1 and now.workers == 0)
    head_watch.HEAD_SECONDS = 3.0
    cluster.head_node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
    driver.join()


if __name__ == "__main__":
    main(sys.argv[1])
